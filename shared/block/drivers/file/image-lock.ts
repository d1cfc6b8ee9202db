/**
 * Locks that make mqnbd and QEMU respect each other's use of an image.
 *
 * Each permission has two bytes in the file, far from anything but themselves: a lock on the first says "I do
 * this", one on the second "nobody else may". Locks are shared ones, so that several holders can say the same;
 * after taking its own, a newcomer looks whether any contradicts.
 *
 * @see raw_apply_lock_bytes and raw_check_lock_bytes in QEMU's block/file-posix.c
 */
import { EACCES, EAGAIN } from '../../../syscall/libc.ts'
import { isByteLocked, lockByteShared, unlockByte } from '../../../syscall/file-lock.ts'

// BLK_PERM_ numbers in QEMU's include/block/block-common.h
const CONSISTENT_READ = 0
const WRITE = 1
const RESIZE = 3

const PERM_BASE = 100
const SHARED_BASE = 200

/** What a permission is called in a message. */
const words = new Map([
  [CONSISTENT_READ, 'reads'],
  [WRITE, 'writes'],
  [RESIZE, 'resizes']
])

/**
 * Locks an image that is open as `fd` until that is closed: we read it, or read and write it, and nobody else
 * may write or resize it.
 *
 * @returns undefined, or why that cannot be; then no lock is held. A file system without such locks is taken as it is.
 */
export function lockImage(fd: number, readOnly: boolean): string | undefined {
  const used = readOnly ? [CONSISTENT_READ] : [CONSISTENT_READ, WRITE]
  const refused = [WRITE, RESIZE]
  const bytes = [...used.map((perm) => PERM_BASE + perm), ...refused.map((perm) => SHARED_BASE + perm)]

  const conflict = takeAll(fd, bytes) ?? findConflict(fd, used, refused)
  if (conflict !== undefined) for (const byte of bytes) unlockByte(fd, byte)
  return conflict
}

function takeAll(fd: number, bytes: number[]): string | undefined {
  for (const byte of bytes) {
    const result = lockByteShared(fd, byte)
    if (result === -EAGAIN || result === -EACCES) return 'another process has locked it'
  }
  return undefined
}

function findConflict(fd: number, used: number[], refused: number[]): string | undefined {
  for (const perm of refused) {
    if (isByteLocked(fd, PERM_BASE + perm) === 1) return `another process ${words.get(perm)} it`
  }
  for (const perm of used) {
    if (isByteLocked(fd, SHARED_BASE + perm) === 1) {
      return `another process that uses it lets nobody else ${perm === WRITE ? 'write' : 'read'} it`
    }
  }
  return undefined
}
