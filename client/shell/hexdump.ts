/** Bytes to look at. */
const LINE = 16

/** Lines of sixteen bytes each, as `hexdump -C` prints them. @param offset of the first byte, for the left column */
export function hexLines(bytes: Uint8Array, offset = 0): string[] {
  const lines: string[] = []
  for (let at = 0; at < bytes.length; at += LINE) {
    const line = [...bytes.subarray(at, at + LINE)]
    const hex = line.map((byte) => byte.toString(16).padStart(2, '0'))
    const left = hex.slice(0, LINE / 2).join(' ')
    const right = hex.slice(LINE / 2).join(' ')
    const columns = `${left}  ${right}`.padEnd(LINE * 3)
    lines.push(`${(offset + at).toString(16).padStart(8, '0')}  ${columns}  |${line.map(ascii).join('')}|`)
  }
  return lines
}

const ascii = (byte: number): string => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '.')

/** Prints bytes. @param offset of the first byte, for the left column */
export function hexdump(bytes: Uint8Array, offset = 0): void {
  process.stdout.write(
    hexLines(bytes, offset)
      .map((line) => `${line}\n`)
      .join('')
  )
}
