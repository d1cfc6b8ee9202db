/** The options of `mqnbd shell`, with nbdsh's names and letters. */
import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs'

export const shellOptions = {
  uri: { alias: 'u', type: 'string', describe: 'The same as URI' },
  // Without `requiresArg`, which would not let '-' pass.
  command: {
    alias: 'c',
    type: 'string',
    describe: "JavaScript to run, instead of asking for it; may be repeated; '-' for standard input"
  }
} as const satisfies Record<string, Options>

type Declared = InferredOptionTypes<typeof shellOptions> & { URI: string | undefined }
export type ShellArguments = ArgumentsCamelCase<Declared>

export const buildShell = (yargs: Argv): Argv<Declared> =>
  yargs
    .usage(
      'mqnbd shell [URI] [options]\n\nA JavaScript shell with the export of an NBD server in it, as `disk`.\n' +
        'Ctrl-D ends it. Runs a script when standard input is not a terminal.'
    )
    .positional('URI', {
      type: 'string',
      describe: 'NBD URI of the export; without one there is no disk yet'
    })
    // Elsewhere the last one counts.
    .parserConfiguration({ 'duplicate-arguments-array': true })
    .options(shellOptions)
    .check(({ URI, uri }) => [URI ?? [], uri ?? []].flat().length <= 1 || 'shell: which URI of several?')
    .check(({ URI, uri }) => (URI !== '' && uri !== '') || 'shell: which URI?')
    .check((args) => !commands(args).includes('') || 'shell: --command: which code?')
    .example('mqnbd shell nbd://localhost', 'then: hexdump(await disk.read(0, 512))')
    .example("mqnbd shell nbd://localhost -c 'console.log(disk.size)'", 'the size of the export')

/** Given once, it is not an array, whatever the types say. */
export const commands = ({ command }: Pick<ShellArguments, 'command'>): string[] => [command ?? []].flat()
