/**
 * Locks on single bytes of a file that belong to the open file description, not to the process.
 *
 * @see fcntl(2), "Open file description locks"
 */
import { declare, errno } from './libc.ts'
import { Memory } from './memory.ts'

const fcntl = declare('int fcntl(int fd, int command, uintptr_t lock)')

const F_OFD_GETLK = 36
const F_OFD_SETLK = 37
const F_RDLCK = 0
const F_WRLCK = 1
const F_UNLCK = 2

// struct flock on 64-bit Linux: 2 type, 2 whence, 4 padding, 8 start, 8 len, 4 pid, 4 padding
const TYPE = 0
const flock = Memory.allocate(32)

function prepare(type: number, byte: number): void {
  flock.buffer.fill(0, 0, 32)
  flock.buffer.writeInt16LE(type, TYPE)
  flock.buffer.writeUInt32LE(byte, 8)
  flock.buffer.writeUInt32LE(1, 16)
}

/**
 * Takes a shared lock on one byte, without waiting.
 *
 * @returns 0, or the errno as a negative number (EAGAIN: somebody holds it exclusively)
 */
export function lockByteShared(fd: number, byte: number): number {
  prepare(F_RDLCK, byte)
  return fcntl(fd, F_OFD_SETLK, flock.address) < 0 ? -errno() : 0
}

/** Gives the lock on one byte back. */
export function unlockByte(fd: number, byte: number): number {
  prepare(F_UNLCK, byte)
  return fcntl(fd, F_OFD_SETLK, flock.address) < 0 ? -errno() : 0
}

/**
 * Whether another open file description holds a lock on one byte.
 *
 * @returns 1 or 0, or the errno as a negative number
 */
export function isByteLocked(fd: number, byte: number): number {
  prepare(F_WRLCK, byte)
  if (fcntl(fd, F_OFD_GETLK, flock.address) < 0) return -errno()
  return flock.buffer.readInt16LE(TYPE) === F_UNLCK ? 0 : 1
}
