/** The options of `mqnbd list`. */
import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs'

export const listOptions = {
  json: { type: 'boolean', describe: 'Print JSON' }
} as const satisfies Record<string, Options>

type ListOptions = InferredOptionTypes<typeof listOptions>

export type ListArguments = ArgumentsCamelCase<ListOptions & { target: string | undefined }>

export const buildList = (yargs: Argv): Argv<ListOptions & { target: string | undefined }> =>
  yargs
    .usage(
      'mqnbd list URI [options]\n\nPrints the exports of an NBD server, a line for each: name, size in bytes, description.'
    )
    .positional('target', { type: 'string', describe: 'NBD URI of the server' })
    .options(listOptions)
    .check(({ target }) => !!target || 'list: which URI?')
    .example('mqnbd list nbd://localhost', 'the exports of this machine')
