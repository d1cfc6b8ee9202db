/** A line of a hex dump: offset, hex codes, characters. */

/** Bytes in a line. */
export const LINE = 16

const OFFSET_DIGITS = 10

/** Stands for lines that repeat the one before; behind it the same in colour. */
export const SQUEEZED = ['*', '☆'] as const

const GREEN = '\x1b[22;32m'
const GREY = '\x1b[22;90m'
const BRIGHT_BLUE = '\x1b[1;34m'
const BRIGHT_RED = '\x1b[1;31m'
const BRIGHT_MAGENTA = '\x1b[1;35m'
export const RESTORE = '\x1b[0m'

const bytes = Array.from({ length: 256 }, (_, byte) => byte)
const hexOf = (byte: number): string => `${byte.toString(16).padStart(2, '0')} `
const isPrintable = (byte: number): boolean => byte >= 0x20 && byte < 0x7f
const isAlphanumeric = (byte: number): boolean => /[0-9A-Za-z]/.test(String.fromCharCode(byte))

function colouredCharacter(byte: number): string {
  if (!isPrintable(byte)) return `${GREY}·`
  return `${isAlphanumeric(byte) ? BRIGHT_RED : BRIGHT_MAGENTA}${String.fromCharCode(byte)}`
}

/** How each byte is printed: first plain, then in colour. */
const HEX = [
  bytes.map(hexOf),
  bytes.map((byte) => `${byte === 0 ? GREY : BRIGHT_BLUE}${hexOf(byte)}`)
] as const
const CHARACTER = [
  bytes.map((byte) => (isPrintable(byte) ? String.fromCharCode(byte) : '.')),
  bytes.map(colouredCharacter)
] as const

/** @param line up to 16 bytes */
export function formatLine(line: Buffer, offset: number, colour: boolean): string {
  const [hex, character] = colour ? [HEX[1], CHARACTER[1]] : [HEX[0], CHARACTER[0]]
  const [green, grey, restore, pipe] = colour ? [GREEN, GREY, RESTORE, '│'] : ['', '', '', '|']
  let codes = ''
  let text = ''
  for (let i = 0; i < LINE; i++) {
    if (i === line.length) codes += grey
    const byte = line[i]
    codes += byte === undefined ? '   ' : hex[byte]!
    text += byte === undefined ? '' : character[byte]!
    if (i === LINE / 2 - 1) codes += ' '
  }
  if (line.length === LINE) codes += grey
  const digits = offset.toString(16).padStart(OFFSET_DIGITS, '0')
  const filler = ' '.repeat(LINE - line.length)
  return `${green}${digits}${grey}: ${codes}${pipe}${text}${grey}${filler}${pipe}\n${restore}`
}
