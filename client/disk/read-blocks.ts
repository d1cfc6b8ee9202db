/** Reading a range from front to back, some requests ahead of whoever takes the data. */
import type { CallOptions } from '../transmission/cancellation.ts'

/** What is read in one call when nobody says otherwise. */
export const BLOCK_SIZE = 256 * 1024
/** Calls in flight. */
const READ_AHEAD = 4

export interface RangeOptions extends CallOptions {
  /** First byte; 0 if not given. */
  start?: number | undefined
  /** Behind the last byte, as in `subarray` (and unlike in node:fs); the disk's size if not given. */
  end?: number | undefined
}

export interface ReadBlocksOptions extends RangeOptions {
  /** Bytes in each block but the last; 256 KiB if not given. */
  size?: number | undefined
}

/** A disk, as far as it is needed for reading. */
export interface ReadableDisk {
  readonly size: number
  read(offset: number, length: number, options?: CallOptions): Promise<Buffer>
}

/**
 * Blocks of the range, in order, each a new buffer that is the caller's. Four are read ahead. When the iteration ends
 * early, the reads in flight are given up.
 *
 * @throws NBDError; why it was given up
 */
export async function* readBlocks(
  disk: ReadableDisk,
  { start = 0, end = disk.size, size = BLOCK_SIZE, signal, timeoutMs }: ReadBlocksOptions = {}
): AsyncGenerator<Buffer, void, undefined> {
  checkRange(start, end, size)
  const own = new AbortController()
  const options = { signal: signal ? AbortSignal.any([signal, own.signal]) : own.signal, timeoutMs }
  const reads: Promise<Buffer>[] = []
  let offset = start
  try {
    for (;;) {
      while (reads.length < READ_AHEAD && offset < end) {
        const read = disk.read(offset, Math.min(size, end - offset), options)
        // Its failure is told when its turn has come, if ever.
        read.catch(() => undefined)
        reads.push(read)
        offset += size
      }
      const next = reads.shift()
      if (!next) return
      yield await next
    }
  } finally {
    own.abort()
  }
}

/** @throws RangeError */
export function checkRange(start: number, end: number, size: number): void {
  const isCount = (value: number): boolean => Number.isSafeInteger(value) && value >= 0
  if (!isCount(start) || !isCount(end) || end < start)
    throw new RangeError(`no range from ${start} to ${end} can be`)
  if (!isCount(size) || size === 0) throw new RangeError(`no block of ${size} bytes can be`)
}
