/** Moving pages between a pipe and a file or a socket, without copying what is in them. */
import { declare, EINTR, errno } from './libc.ts'
import { Memory } from './memory.ts'
import { storeUint64, wordsOf } from './iovec.ts'

const splice_ = declare(
  'int64_t splice(int from, uintptr_t offset, int to, uintptr_t toOffset, size_t length, unsigned int flags)'
)

const SPLICE_F_NONBLOCK = 2

const fileOffset = Memory.allocate(8)
const offsetWords = wordsOf(fileOffset)

/**
 * Takes what is there, without waiting.
 *
 * @returns bytes, 0 at the end of the stream, or the errno as a negative number
 * @see splice(2)
 */
export function splice(from: number, to: number, length: number): number {
  for (;;) {
    const n = splice_(from, 0, to, 0, length, SPLICE_F_NONBLOCK)
    if (n >= 0) return n
    const e = errno()
    if (e !== EINTR) return -e
  }
}

/** As `splice`, of a file from `offset` on; its position stays as it is. Waits for what is not in the page cache. */
export function spliceFile(file: number, offset: number, pipe: number, length: number): number {
  for (;;) {
    storeUint64(offsetWords, 0, offset)
    const n = splice_(file, fileOffset.address, pipe, 0, length, SPLICE_F_NONBLOCK)
    if (n >= 0) return n
    const e = errno()
    if (e !== EINTR) return -e
  }
}
