/** The options of `mqnbd compare`, with the names and letters of `qemu-img compare`. */
import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs'
import { progressOptions } from './progress-options.ts'

const FORMATS = ['raw'] as const

export const compareOptions = {
  'a-format': {
    alias: 'f',
    choices: FORMATS,
    requiresArg: true,
    describe: 'Format of FILE1; guessed if not given'
  },
  'b-format': { alias: 'F', choices: FORMATS, requiresArg: true, describe: 'Format of FILE2' },
  strict: { alias: 's', type: 'boolean', describe: 'Sizes and holes must be the same, too' },
  'force-share': { alias: 'U', type: 'boolean', describe: 'Even while somebody else writes them' },
  quiet: { alias: 'q', type: 'boolean', describe: 'Print nothing but errors' },
  ...progressOptions
} as const satisfies Record<string, Options>

type Positionals = { file1: string | undefined; file2: string | undefined }
export type CompareArguments = ArgumentsCamelCase<InferredOptionTypes<typeof compareOptions> & Positionals>

export const buildCompare = (yargs: Argv): Argv<InferredOptionTypes<typeof compareOptions> & Positionals> =>
  yargs
    .usage('mqnbd compare FILE1 FILE2 [options]\n\nTells whether two disks have the same content.')
    .positional('file1', { type: 'string', describe: 'NBD URI, file or block device' })
    .positional('file2', { type: 'string', describe: 'the same' })
    .options(compareOptions)
    .check(({ file1, file2 }) => (!!file1 && !!file2) || 'compare: which FILE1 and FILE2?')
    .epilogue(
      'Exit status: 0 they are the same, 1 they differ, 2 one cannot be opened, 3 or 4 one cannot be read.'
    )
    .example('mqnbd compare disk.img nbd://localhost', 'a file with an export')
