/** struct iovec, and pointers in memory that system calls read. */

/** 8 base, 8 length. */
export const IOVEC_SIZE = 16

/** Bytes `start` to `end` of memory whose first byte is at `address`. */
export interface MemoryPiece {
  readonly memory: { readonly address: number }
  readonly start: number
  readonly end: number
}

/** @param address below 2^48 */
export function writePointer(buffer: Buffer, at: number, address: number): void {
  buffer.writeUInt32LE(address % 0x100000000, at)
  buffer.writeUInt32LE(Math.floor(address / 0x100000000), at + 4)
}

/** @param length below 2^32 */
export function writeIovec(buffer: Buffer, index: number, address: number, length: number): void {
  const at = index * IOVEC_SIZE
  writePointer(buffer, at, address)
  buffer.writeUInt32LE(length, at + 8)
  buffer.writeUInt32LE(0, at + 12)
}
