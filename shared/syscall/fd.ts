/** Descriptors as such. */
import { declare, errno } from './libc.ts'
import { systemError } from '../errors/system-error.ts'

const fcntl = declare('int fcntl(int fd, int command, int argument)')
const dup3 = declare('int dup3(int fd, int place, int flags)')
const close = declare('int close(int fd)')
const eventfd = declare('int eventfd(unsigned int value, int flags)')
const memfd_create = declare('int memfd_create(const char *name, unsigned int flags)')

const lseek = declare('int64_t lseek(int fd, int64_t offset, int whence)')

const F_GETFL = 3
const F_SETFL = 4
const F_DUPFD_CLOEXEC = 1030
const F_SETPIPE_SZ = 1031
const F_GETPIPE_SZ = 1032
const O_ACCMODE = 3
const O_NONBLOCK = 0o4000
const O_CLOEXEC = 0o2000000
const SEEK_SET = 0
const MFD_CLOEXEC = 1
const EFD_NONBLOCK = O_NONBLOCK
const EFD_CLOEXEC = O_CLOEXEC

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

/**
 * Makes a descriptor one of another open file, closed on exec, instead of what it was.
 *
 * @param fd stays open
 * @throws NBDError of kind `request` (EBADF)
 * @see dup3(2)
 */
export function replaceFd(place: number, fd: number): void {
  if (dup3(fd, place, O_CLOEXEC) < 0) throw systemError(errno(), 'dup3')
}

/**
 * What an open descriptor allows.
 *
 * @returns O_RDONLY, O_WRONLY or O_RDWR
 * @throws NBDError of kind `request` (EBADF)
 * @see fcntl(2), F_GETFL
 */
export function accessMode(fd: number): number {
  const flags = fcntl(fd, F_GETFL, 0)
  if (flags < 0) throw systemError(errno(), 'fcntl')
  return flags & O_ACCMODE
}

/**
 * Takes O_NONBLOCK from a descriptor.
 *
 * @throws NBDError of kind `request` (EBADF)
 */
export const setBlocking = (fd: number): void => setFlags(fd, (flags) => flags & ~O_NONBLOCK)

/** Gives a descriptor O_NONBLOCK. @throws NBDError of kind `request` (EBADF) */
export const setNonBlocking = (fd: number): void => setFlags(fd, (flags) => flags | O_NONBLOCK)

function setFlags(fd: number, change: (flags: number) => number): void {
  const flags = fcntl(fd, F_GETFL, 0)
  if (flags < 0 || fcntl(fd, F_SETFL, change(flags)) < 0) throw systemError(errno(), 'fcntl')
}

/**
 * Lets a pipe hold so many bytes, if the system grants that.
 *
 * @returns how many it holds
 * @see fcntl(2), F_SETPIPE_SZ
 */
export function setPipeSize(fd: number, size: number): number {
  fcntl(fd, F_SETPIPE_SZ, size)
  return fcntl(fd, F_GETPIPE_SZ, 0)
}

/**
 * Sets the position that `readv` and `writev` of a file go on from.
 *
 * @param offset from the file's start, in bytes
 * @throws NBDError of kind `request` (ESPIPE)
 * @see lseek(2)
 */
export function setPosition(fd: number, offset: number): void {
  if (lseek(fd, offset, SEEK_SET) < 0) throw systemError(errno(), 'lseek')
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

/**
 * A counter of events, 0 at first: it can be read, 8 bytes, when something has been added.
 *
 * @throws NBDError of kind `request` (EMFILE)
 * @see eventfd(2)
 */
export function createEventFd(): number {
  const fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
  if (fd < 0) throw systemError(errno(), 'eventfd')
  return fd
}
