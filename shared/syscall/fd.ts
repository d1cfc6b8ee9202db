/** Descriptors as such. */
import { declare, errno } from './libc.ts'
import { systemError } from '../errors/system-error.ts'

const fcntl = declare('int fcntl(int fd, int command, int argument)')
const close = declare('int close(int fd)')
const memfd_create = declare('int memfd_create(const char *name, unsigned int flags)')

const F_DUPFD_CLOEXEC = 1030
const MFD_CLOEXEC = 1

/**
 * A second descriptor of the same open file, closed on exec.
 *
 * @throws NBDError of kind `request` (EMFILE, EBADF)
 * @see dup(2)
 */
export function duplicateFd(fd: number): number {
  const copy = fcntl(fd, F_DUPFD_CLOEXEC, 0)
  if (copy < 0) throw systemError(errno(), 'dup')
  return copy
}

/** @see close(2) */
export function closeFd(fd: number): void {
  close(fd)
}

/**
 * A new file that lives in memory only, empty and sparse.
 *
 * @throws NBDError of kind `request`
 * @see memfd_create(2)
 */
export function createMemfd(name: string): number {
  const fd = memfd_create(name, MFD_CLOEXEC)
  if (fd < 0) throw systemError(errno(), 'memfd_create')
  return fd
}
