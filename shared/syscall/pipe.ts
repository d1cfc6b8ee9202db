/** Pipes: for waking a thread that sleeps in its loop, and for talking with programs. */
import { declare, errno } from './libc.ts'
import { Memory } from './memory.ts'
import { systemError } from '../errors/system-error.ts'

const pipe2 = declare('int pipe2(uintptr_t fds, int flags)')
const write = declare('int64_t write(int fd, uintptr_t buf, size_t count)')

const O_NONBLOCK = 0o4000
const O_CLOEXEC = 0o2000000

const fds = Memory.allocate(8)
const byte = Memory.allocate(1)

/**
 * A pipe, closed on exec.
 *
 * @param blocking whether its ends wait; a program that is given one expects it
 * @throws NBDError of kind `request` (EMFILE)
 * @see pipe(2)
 */
export function createPipe(blocking = false): { readFd: number; writeFd: number } {
  if (pipe2(fds.address, blocking ? O_CLOEXEC : O_NONBLOCK | O_CLOEXEC) < 0)
    throw systemError(errno(), 'pipe')
  return { readFd: fds.buffer.readInt32LE(0), writeFd: fds.buffer.readInt32LE(4) }
}

/** Writes one byte; when the pipe is full, its reader has enough to wake up for. */
export function writeByte(fd: number): void {
  write(fd, byte.address, 1)
}
