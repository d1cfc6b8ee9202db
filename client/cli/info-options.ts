/** The options of `mqnbd info`, with nbdinfo's names. */
import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs'
import { BASE_ALLOCATION } from '../../shared/protocol/constants.ts'

const question = (describe: string) => ({ type: 'string', requiresArg: true, describe }) as const

export const infoOptions = {
  size: { type: 'boolean', describe: 'Print the size in bytes, and nothing else' },
  uri: { type: 'boolean', describe: 'Print the URI in full, and nothing else' },
  list: { alias: 'L', type: 'boolean', describe: 'Tell about all exports of the server' },
  map: {
    type: 'string',
    describe: `Print what is allocated (--map, or --map=${BASE_ALLOCATION}), or another map`
  },
  totals: { alias: 'total', type: 'boolean', describe: 'With --map: how much there is of each kind' },
  is: question('Exit with 0 if it is, 2 if not: read-only, rotational, tls'),
  can: question(
    'The same: block-status-payload, cache, connect, df, extended-headers, fast-zero, flush, fua, multi-conn, read, structured-reply, trim, write, zero'
  ),
  has: question('The same: extended-headers, structured-reply'),
  isnt: question('The opposite of --is'),
  cannot: question('The opposite of --can'),
  hasnt: question('The opposite of --has'),
  json: { type: 'boolean', describe: 'Print JSON' },
  content: {
    type: 'boolean',
    describe: 'Read the first bytes and let file(1) say what they are (default: without --list)'
  }
} as const satisfies Record<string, Options>

type InfoOptions = InferredOptionTypes<typeof infoOptions>

export type InfoArguments = ArgumentsCamelCase<InfoOptions & { target: string | undefined }>

/** Each asks for another output, so there may be one of them. */
const MODES = ['size', 'uri', 'list', 'map', 'is', 'can', 'has', 'isnt', 'cannot', 'hasnt'] as const

export const buildInfo = (yargs: Argv): Argv<InfoOptions & { target: string | undefined }> =>
  yargs
    .usage('mqnbd info URI [options]\n\nPrints what an NBD server tells about an export.')
    .positional('target', {
      type: 'string',
      describe: 'NBD URI of the export, or [ CMD ARGS ] to run a server'
    })
    .options(infoOptions)
    .check((args) => {
      const modes = MODES.filter((mode) => args[mode] !== undefined && args[mode] !== false)
      if (modes.length > 1)
        return `info: ${modes.map((mode) => `--${mode}`).join(' and ')} exclude each other`
      if (args.totals && args.map === undefined) return 'info: --totals goes with --map'
      return !!args.target || 'info: which URI?'
    })
    .example('mqnbd info nbd://localhost', 'the default export of this machine')
    .example("mqnbd info --size 'nbd+unix:///?socket=/tmp/nbd.sock'", 'the size of one on a Unix socket')
    .example('mqnbd info --map --totals nbd://localhost', 'how much of it is allocated')
    .example('mqnbd info -- [ nbdkit memory 1G ]', 'an export of a server that is run for this')
