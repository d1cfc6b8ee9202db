/** Reading, writing and flushing a file where that has to be waited for. */
import * as fs from 'node:fs'
import { LinuxIOUring } from '../../../aio/linux-io-uring.ts'
import { isMainThread, keepsThreadEnds } from '../../../aio/thread-end.ts'
import { errnoOf, systemError } from '../../../errors/system-error.ts'
import { EIO } from '../../../syscall/libc.ts'
import type { Memory } from '../../../syscall/memory.ts'

/** Who does it: libuv's thread pool, or the kernel. @see BlockdevAioOptions in QEMU's qapi/block-core.json */
export const AIO = ['threads', 'io_uring'] as const
export type Aio = (typeof AIO)[number]

/** What goes wrong is an NBDError of kind `request` that carries an errno. */
export interface FileIO {
  /**
   * @param memory to read into from `at` on, the callee's until the promise settles
   * @returns bytes, fewer than asked for mostly at the end of the file, where it is 0
   */
  read(fd: number, memory: Memory, at: number, offset: number, length: number): Promise<number>
  /** @param memory to write from `at` on, the callee's until the promise settles @returns bytes */
  write(fd: number, memory: Memory, at: number, offset: number, length: number): Promise<number>
  /** @see fdatasync(2) */
  fdatasync(fd: number): Promise<void>
}

const failed = (error: unknown, call: string): Error => systemError(errnoOf(error) ?? EIO, call)

const threads: FileIO = {
  read: (fd, { buffer }, at, offset, length) =>
    new Promise((resolve, reject) =>
      fs.read(fd, buffer, at, length, offset, (error, n) =>
        error ? reject(failed(error, 'read')) : resolve(n)
      )
    ),

  write: (fd, { buffer }, at, offset, length) =>
    new Promise((resolve, reject) =>
      fs.write(fd, buffer, at, length, offset, (error, n) =>
        error ? reject(failed(error, 'write')) : resolve(n)
      )
    ),

  fdatasync: (fd) =>
    new Promise((resolve, reject) =>
      fs.fdatasync(fd, (error) => (error ? reject(failed(error, 'fdatasync')) : resolve()))
    )
}

const ioUring: FileIO = {
  read: (fd, memory, at, offset, length) => LinuxIOUring.current().read(fd, memory, at, offset, length),
  write: (fd, memory, at, offset, length) => LinuxIOUring.current().write(fd, memory, at, offset, length),
  fdatasync: (fd) => LinuxIOUring.current().fdatasync(fd)
}

let cold: FileIO | undefined

/** In this thread, where the kernel may be left alone with its memory. */
function kernelOrPool(): FileIO {
  if (cold) return cold
  try {
    LinuxIOUring.current()
    cold = ioUring
  } catch {
    cold = threads
  }
  return cold
}

/**
 * Reads are left to the kernel, and so are writes around the page cache, which take half the processor's time then
 * (BENCHMARKS.md). For what is written to the page cache, and for a sync, the kernel takes a thread of its own.
 */
const whatPays = (direct: boolean): FileIO => ({
  read: (fd, memory, at, offset, length) => kernelOrPool().read(fd, memory, at, offset, length),
  write: (fd, memory, at, offset, length) =>
    (direct ? kernelOrPool() : threads).write(fd, memory, at, offset, length),
  fdatasync: (fd) => threads.fdatasync(fd)
})

/**
 * How a file is read and written, in the calling thread.
 *
 * @param aio what pays, where it can be had, if not given: in the main thread, which does not serve, libuv's pool. A worker
 *   that is no IOThread always uses that: nobody knows when it ends
 * @param direct it is opened with O_DIRECT
 */
export function fileIO(aio: Aio | undefined, direct: boolean): FileIO {
  if (aio === 'threads' || !keepsThreadEnds()) return threads
  if (aio === 'io_uring') return ioUring
  return isMainThread ? threads : whatPays(direct)
}
