/** Texts of a peer or of a user, made fit for a line of output: whoever wrote them may not move a user's cursor. */

// C0 and C1 controls, line and paragraph separators, and what reverses the direction of writing.
// eslint-disable-next-line no-control-regex
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]+/g

/** One line of text; what is not UTF-8, or would not print, is replaced. */
export function printable(text: Uint8Array | string): string {
  const string = typeof text === 'string' ? text : Buffer.from(text).toString('utf8')
  return string.replace(UNPRINTABLE, ' ')
}
