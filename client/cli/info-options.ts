/** The options of `mqnbd info`, with nbdinfo's names. */
import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs'

export const infoOptions = {
  size: { type: 'boolean', describe: 'Print the size in bytes, and nothing else' }
} as const satisfies Record<string, Options>

export type InfoArguments = ArgumentsCamelCase<
  InferredOptionTypes<typeof infoOptions> & { uri: string | undefined }
>

export const buildInfo = (
  yargs: Argv
): Argv<InferredOptionTypes<typeof infoOptions> & { uri: string | undefined }> =>
  yargs
    .usage('mqnbd info URI [options]\n\nPrints what an NBD server tells about an export.')
    .positional('uri', { type: 'string', describe: 'NBD URI of the export' })
    .options(infoOptions)
    .check(({ uri }) => !!uri || 'info: which URI?')
    .example('mqnbd info nbd://localhost', 'the default export of this machine')
    .example("mqnbd info --size 'nbd+unix:///?socket=/tmp/nbd.sock'", 'the size of one on a Unix socket')
