/** Asking what is cached. */
import { declare, EBADF, ENOTSUP, errno } from './libc.ts'
import { storeUint64, wordsOf } from './iovec.ts'
import { Memory } from './memory.ts'
import { preadNowait, preadSync } from './file-io.ts'

// glibc has no wrapper; the number is the same on every architecture. Linux 6.5 and later.
const syscall = declare(
  'int64_t syscall(int64_t number, int64_t fd, uintptr_t range, uintptr_t stat, int64_t flags)'
)
const SYS_CACHESTAT = 451
const PAGE_SIZE = 4096

// struct cachestat_range { u64 off, len } and struct cachestat { u64 nr_cache, and four more }
const range = Memory.allocate(16)
const rangeWords = wordsOf(range)
const stat = Memory.allocate(40)
const statWords = wordsOf(stat)
const probe = Memory.allocate(16)

// An old kernel answers ENOSYS, a container's seccomp filter often EPERM; one that knows the call sees that -1 is
// no descriptor.
/** Whether `isCached` looks at every page. */
export const isCachedExact =
  syscall(SYS_CACHESTAT, -1, range.address, stat.address, 0) === -1 && errno() === EBADF

/**
 * Whether a range of a file can be read without waiting for the disk. An answer of "yes" may be out of date
 * at once; it then costs time, never wrong data.
 *
 * On kernels without cachestat only the first and the last page are looked at.
 *
 * @see cachestat(2)
 */
export function isCached(fd: number, offset: number, length: number): boolean {
  if (!isCachedExact) {
    return (
      preadNowait(fd, probe.address, 1, offset) === 1 &&
      preadNowait(fd, probe.address, 1, offset + length - 1) === 1
    )
  }
  storeUint64(rangeWords, 0, offset)
  storeUint64(rangeWords, 2, length)
  if (syscall(SYS_CACHESTAT, fd, range.address, stat.address, 0) !== 0) return false
  const first = Math.floor(offset / PAGE_SIZE)
  const last = Math.floor((offset + length - 1) / PAGE_SIZE)
  if (statWords[0]! < last - first + 1) return false
  // Pages behind the end of a file that was cut off can be cached still.
  const n = preadNowait(fd, probe.address, 1, offset + length - 1)
  return n === 1 || (n === -ENOTSUP && preadSync(fd, probe.address, 1, offset + length - 1) === 1)
}
