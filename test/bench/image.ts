/** The disk that benchmarks read and write. */
import * as fs from 'node:fs'

const MiB = 1024 * 1024

/** A file without zeroes, which nobody can leave out. @param size whole MiB */
export function makeFile(file: string, size: number): void {
  const piece = Buffer.alloc(MiB)
  for (let i = 0; i < piece.length; i += 4) piece.writeUInt32LE(Math.imul(i + 1, 0x9e3779b1) >>> 0, i)
  const fd = fs.openSync(file, 'w')
  for (let at = 0; at < size; at += piece.length) fs.writeSync(fd, piece)
  fs.fsyncSync(fd)
  fs.closeSync(fd)
}
