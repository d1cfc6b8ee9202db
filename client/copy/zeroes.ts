/** Zeroes: finding them in what was read, and writing them where they cannot be told. */
import { Memory } from '../../shared/syscall/memory.ts'
import type { Destination } from './endpoint.ts'

const MiB = 1024 * 1024

/** A part of a buffer, `start` to `end`. */
export interface Run {
  start: number
  end: number
  zero: boolean
}

let zeroes: Memory | undefined

/** Memory of one MiB that nobody writes to. */
export function zeroMemory(): Memory {
  if (!zeroes) {
    zeroes = Memory.allocate(MiB)
    zeroes.buffer.fill(0)
  }
  return zeroes
}

/** Whether the bytes from `at` on are all zero. @param length at most 1 MiB */
function isZeroBlock(buffer: Buffer, at: number, length: number): boolean {
  // Nearly all data show it here, without a call.
  if (buffer[at] !== 0 || buffer[at + length - 1] !== 0 || buffer[at + (length >>> 1)] !== 0) return false
  return buffer.compare(zeroMemory().buffer, 0, length, at, at + length) === 0
}

/** Whether the first `length` bytes are all zero. @returns the position of the first that is not, or -1 */
export function findNonZero(buffer: Buffer, length: number): number {
  for (let at = 0; at < length; at += MiB) {
    const size = Math.min(MiB, length - at)
    if (isZeroBlock(buffer, at, size)) continue
    for (let i = at; i < at + size; i++) if (buffer[i] !== 0) return i
  }
  return -1
}

/**
 * Divides the first `length` bytes into runs of blocks that are zero, and of others.
 *
 * @param offset where they lie on the disk: blocks are aligned there. What does not fill a block counts as data
 * @param block a power of two, at most 1 MiB
 */
export function zeroRuns(buffer: Buffer, length: number, offset: number, block: number): Run[] {
  const runs: Run[] = []
  let start = 0
  let zero = false
  const turn = (at: number, nowZero: boolean): void => {
    if (at > start) runs.push({ start, end: at, zero })
    start = at
    zero = nowZero
  }
  let at = (block - (offset % block)) % block
  for (; at + block <= length; at += block) {
    if (isZeroBlock(buffer, at, block) !== zero) turn(at, !zero)
  }
  if (zero && at < length) turn(at, false)
  turn(length, false)
  return runs
}

/** Writes zeroes as data. @throws NBDError */
export async function writeZeroes(
  destination: Pick<Destination, 'write'>,
  offset: number,
  length: number,
  lane: number
): Promise<void> {
  const memory = zeroMemory()
  for (let done = 0; done < length; done += memory.length)
    await destination.write(offset + done, Math.min(memory.length, length - done), memory, 0, lane)
}
