/**
 * Reading and writing several pieces of memory at the position of a descriptor, on the calling thread.
 *
 * Each returns the number of bytes moved, or the errno as a negative number; -EAGAIN when a non-blocking descriptor
 * would have to wait.
 */
import { IovecArray, type MemoryPiece } from './iovec.ts'
import { declare, EINTR, errno, type Call } from './libc.ts'

const readv_ = declare('int64_t readv(int fd, uintptr_t iov, int count)')
const writev_ = declare('int64_t writev(int fd, uintptr_t iov, int count)')

/** IOV_MAX of Linux. What a list has beyond it is left for the next call. */
const MAX_PIECES = 1024

const iovecs = new IovecArray(MAX_PIECES)

/**
 * @returns 0 at the end
 * @see readv(2)
 */
export const readv = (fd: number, pieces: readonly MemoryPiece[]): number => move(readv_, fd, pieces)

/** @see writev(2) */
export const writev = (fd: number, pieces: readonly MemoryPiece[]): number => move(writev_, fd, pieces)

function move(call: Call, fd: number, pieces: readonly MemoryPiece[]): number {
  const count = Math.min(pieces.length, MAX_PIECES)
  for (let i = 0; i < count; i++) {
    const { memory, start, end } = pieces[i]!
    iovecs.set(i, memory.address + start, end - start)
  }
  for (;;) {
    const n = call(fd, iovecs.address, count)
    if (n >= 0) return n
    const e = errno()
    if (e !== EINTR) return -e
  }
}
