/** The options of `mqnbd map`. */
import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs'
import { BASE_ALLOCATION } from '../../shared/protocol/constants.ts'

export const mapOptions = {
  context: {
    alias: 'c',
    type: 'string',
    requiresArg: true,
    default: BASE_ALLOCATION,
    describe: 'Metadata contexts of the export, with commas between them'
  },
  format: {
    alias: 'f',
    type: 'string',
    requiresArg: true,
    describe: "Format of a file: 'raw'; guessed if not given"
  },
  totals: { type: 'boolean', describe: 'How much there is of each kind' },
  json: { type: 'boolean', describe: 'Print JSON' },
  svg: {
    type: 'string',
    requiresArg: true,
    conflicts: ['json', 'totals'],
    describe: 'Draw base:allocation into a file, instead of printing'
  }
} as const satisfies Record<string, Options>

type MapOptions = InferredOptionTypes<typeof mapOptions>

export type MapArguments = ArgumentsCamelCase<MapOptions & { target: string | undefined }>

export const buildMap = (yargs: Argv): Argv<MapOptions & { target: string | undefined }> =>
  yargs
    .usage('mqnbd map URI|FILE [options]\n\nPrints where an export, or a raw file, has data and where holes.')
    .positional('target', {
      type: 'string',
      describe: 'NBD URI of the export, a file, or [ CMD ARGS ] to run a server'
    })
    .options(mapOptions)
    .check(({ target }) => !!target || 'map: which URI or file?')
    .example('mqnbd map disk.img', 'the holes of a file')
    .example('mqnbd map --svg disk.svg nbd://localhost', 'a picture of what is allocated')
    .example('mqnbd map --totals nbd://localhost', 'how much of an export is allocated')
    .example(
      'mqnbd map -c base:allocation,qemu:dirty-bitmap:b nbd://localhost',
      'what of it has changed, too'
    )
