/**
 * Reading and writing files at an address, on the calling thread.
 *
 * Each returns the number of bytes moved, or the errno as a negative number: an Error object for every page
 * that is not cached would cost more than the read.
 */
import { IovecArray } from './iovec.ts'
import { declare, EINTR, errno } from './libc.ts'

const pread = declare('int64_t pread(int fd, uintptr_t buf, size_t count, int64_t offset)')
const pwrite = declare('int64_t pwrite(int fd, uintptr_t buf, size_t count, int64_t offset)')
const preadv2 = declare('int64_t preadv2(int fd, uintptr_t iov, int iovcnt, int64_t offset, int flags)')

const RWF_NOWAIT = 8

const iovec = new IovecArray(1)

/**
 * Reads what is in the page cache.
 *
 * @returns bytes, fewer than asked for when the rest is not cached; -EAGAIN when nothing is, -EOPNOTSUPP
 *   where the file system cannot tell
 * @see preadv2(2), RWF_NOWAIT
 */
export function preadNowait(fd: number, address: number, length: number, offset: number): number {
  iovec.set(0, address, length)
  const n = preadv2(fd, iovec.address, 1, offset, RWF_NOWAIT)
  return n < 0 ? -errno() : n
}

/** @see pread(2) */
export function preadSync(fd: number, address: number, length: number, offset: number): number {
  for (;;) {
    const n = pread(fd, address, length, offset)
    if (n >= 0) return n
    const e = errno()
    if (e !== EINTR) return -e
  }
}

/** @see pwrite(2) */
export function pwriteSync(fd: number, address: number, length: number, offset: number): number {
  for (;;) {
    const n = pwrite(fd, address, length, offset)
    if (n >= 0) return n
    const e = errno()
    if (e !== EINTR) return -e
  }
}
