/** What users may write and yargs cannot be told. Needed before it is known which command is meant. */
import { BASE_ALLOCATION } from '../../shared/protocol/constants.ts'

/** The command line in a form that yargs knows. @param args without program and script */
export function knownForms(args: readonly string[]): string[] {
  const end = args.includes('--') ? args.indexOf('--') : args.length
  return args.map((arg, i) => (i < end ? knownForm(arg) : arg))
}

function knownForm(arg: string): string {
  // It has a value only behind '=': without one, the default's is put there.
  if (arg === '--map') return `--map=${BASE_ALLOCATION}`
  // With a number it is another option: what follows `--progress` is something else.
  return arg.replace(/^--progress=/, '--progress-fd=')
}
