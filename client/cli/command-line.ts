/** What users may write and yargs cannot be told. Needed before it is known which command is meant. */
import { BASE_ALLOCATION } from '../../shared/protocol/constants.ts'

/**
 * Between the parts of what stands in brackets, which becomes one word. A command line has no other NUL.
 *
 * @see nbdinfo(1), nbdcopy(1): `[ CMD ARGS ]`
 */
const SEPARATOR = '\0'

/** The command line in a form that yargs knows. @param args without program and script */
export function knownForms(args: readonly string[]): string[] {
  const words = withServerWords(args)
  const end = words.includes('--') ? words.indexOf('--') : words.length
  const behind = words.slice(end)
  // Their options are inside a word now; and behind '--' yargs finds no arguments of a command.
  if (behind.some((word) => serverCommand(word))) behind.shift()
  return [...words.slice(0, end).map(knownForm), ...behind]
}

/** A server's program and its arguments. @returns undefined when the word is none of a server */
export const serverCommand = (word: string): string[] | undefined =>
  word.startsWith(`[${SEPARATOR}`) ? word.split(SEPARATOR).slice(1, -1) : undefined

/** Each `[ CMD ARGS ]` as one word. */
function withServerWords(args: readonly string[]): string[] {
  const words: string[] = []
  for (let at = 0; at < args.length; at++) {
    const end = args[at] === '[' ? args.indexOf(']', at) : at
    // A bracket that is not closed is a word like others: a file may be named so.
    words.push(args.slice(at, Math.max(at, end) + 1).join(SEPARATOR))
    at = Math.max(at, end)
  }
  return words
}

function knownForm(word: string): string {
  // It has a value only behind '=': without one, the default's is put there.
  if (word === '--map') return `--map=${BASE_ALLOCATION}`
  // With a number it is another option: what follows `--progress` is something else.
  return word.replace(/^--progress=/, '--progress-fd=')
}
