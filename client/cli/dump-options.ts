/** The options of `mqnbd dump`, with nbddump's names and letters. */
import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs'

export const dumpOptions = {
  color: {
    alias: ['colour', 'colors', 'colours'],
    type: 'boolean',
    describe: 'In colours; as for a terminal'
  },
  length: {
    alias: ['n', 'limit'],
    type: 'string',
    requiresArg: true,
    describe: 'At most that many bytes (suffixes K, M, G, T)'
  },
  offset: { type: 'string', requiresArg: true, default: '0', describe: 'From this byte on' }
} as const satisfies Record<string, Options>

type Positionals = { uri: string | undefined }
export type DumpArguments = ArgumentsCamelCase<InferredOptionTypes<typeof dumpOptions> & Positionals>

export const buildDump = (yargs: Argv): Argv<InferredOptionTypes<typeof dumpOptions> & Positionals> =>
  yargs
    .usage('mqnbd dump URI [options]\n\nPrints the content of a disk as a hex dump.')
    .positional('uri', { type: 'string', describe: 'NBD URI, file or block device' })
    .options(dumpOptions)
    .check(({ uri }) => !!uri || 'dump: which URI?')
    .example('mqnbd dump -n 512 nbd://localhost', 'the first sector')
