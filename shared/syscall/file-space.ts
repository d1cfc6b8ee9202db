/** Where a file has data, and making and filling holes: the calls that Node lacks. */
import { callInPool, declare, errno } from './libc.ts'

const fallocate_ = declare('int fallocate(int fd, int mode, int64_t offset, int64_t length)')
const lseek_ = declare('int64_t lseek(int fd, int64_t offset, int whence)')
const posix_fadvise = declare('int posix_fadvise(int fd, int64_t offset, int64_t length, int advice)')

export const FALLOC_FL_KEEP_SIZE = 0x01
export const FALLOC_FL_PUNCH_HOLE = 0x02
export const FALLOC_FL_ZERO_RANGE = 0x10
export const SEEK_END = 2
export const SEEK_DATA = 3
export const SEEK_HOLE = 4
export const POSIX_FADV_WILLNEED = 3

/**
 * In the thread pool.
 *
 * @returns 0, or the errno as a negative number
 * @see fallocate(2)
 */
export const fallocate = (fd: number, mode: number, offset: number, length: number): Promise<number> =>
  callInPool(fallocate_, fd, mode, offset, length)

/**
 * In the thread pool. The file position that it moves is one that nothing here uses.
 *
 * @returns the offset found, or the errno as a negative number (ENXIO: no data at or after `offset`)
 * @see lseek(2)
 */
export const seek = (
  fd: number,
  offset: number,
  whence: typeof SEEK_DATA | typeof SEEK_HOLE
): Promise<number> => callInPool(lseek_, fd, offset, whence)

/** As `seek`, in this thread: waits for the disk where the file's map is not in memory. */
export function seekNow(fd: number, offset: number, whence: typeof SEEK_DATA | typeof SEEK_END): number {
  const found = lseek_(fd, offset, whence)
  return found < 0 ? -errno() : found
}

/**
 * In the thread pool.
 *
 * @returns 0, or the errno as a negative number
 * @see posix_fadvise(2)
 */
export async function fadvise(fd: number, offset: number, length: number, advice: number): Promise<number> {
  const error = await callInPool(posix_fadvise, fd, offset, length, advice)
  return error > 0 ? -error : error
}
