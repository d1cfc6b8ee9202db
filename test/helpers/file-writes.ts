/** Writing from files, on any disk. */
import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import type { Test } from 'tap'
import type { NBDDisk } from '../../client/index.ts'
import { imageOf, MiB } from './files.ts'

/** Open until the test ends. */
export function openFile(t: Test, bytes: Buffer): { fd: number; file: string } {
  const file = imageOf(t, bytes)
  const fd = fs.openSync(file, 'r')
  t.teardown(() => fs.closeSync(fd))
  return { fd, file }
}

/** Writes ranges of a file side by side, of all lengths, and reads them back. */
export async function writeFromFile(t: Test, disk: NBDDisk, unit = 512): Promise<void> {
  const bytes = crypto.randomBytes(4 * MiB)
  const { fd } = openFile(t, bytes)
  const lengths = [unit, 16 * 1024, 100 * unit, MiB, 2 * MiB]
  let at = 0
  const ranges = lengths
    .map((length) => ({ length, at: (at += length) - length }))
    .filter(({ length, at }) => unit + at + length <= disk.size)
  const total = ranges.reduce((sum, { length }) => sum + length, 0)
  await Promise.all(
    ranges.map(({ length, at }) => disk.writeFile(unit + at, length, { fd, position: 3 + at }))
  )
  t.ok((await disk.read(unit, total)).equals(bytes.subarray(3, 3 + total)))
}
