/**
 * Numbers of the wire, 16 and 32 bits, at a place that the caller has seen to be in the buffer.
 *
 * Buffer's own methods check what they are given, and are too large for V8 to compile several of them into one function:
 * a request took ten times as long to decode.
 */

export const readUint16 = (buf: Buffer, at: number): number => (buf[at]! << 8) | buf[at + 1]!

export const readUint32 = (buf: Buffer, at: number): number =>
  ((buf[at]! << 24) | (buf[at + 1]! << 16) | (buf[at + 2]! << 8) | buf[at + 3]!) >>> 0

/** @param value below 2^16 */
export function writeUint16(buf: Buffer, at: number, value: number): void {
  buf[at] = value >>> 8
  buf[at + 1] = value
}

/** @param value below 2^32 */
export function writeUint32(buf: Buffer, at: number, value: number): void {
  buf[at] = value >>> 24
  buf[at + 1] = value >>> 16
  buf[at + 2] = value >>> 8
  buf[at + 3] = value
}
