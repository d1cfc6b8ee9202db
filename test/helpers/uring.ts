/** io_uring in tests, and in a thread of a test. */
import { checkIOUring, LinuxIOUring } from '../../shared/aio/linux-io-uring.ts'
import type { EntryPoint } from '../../shared/aio/entry-point.ts'
import { Memory } from '../../shared/syscall/memory.ts'

/** Options for a test that needs io_uring: not every kernel and every container lets it be used. */
export function requiresIOUring(): { skip?: string } {
  try {
    checkIOUring()
    return {}
  } catch (error) {
    return { skip: `io_uring cannot be used here: ${(error as Error).message}` }
  }
}

export const BEGIN_READ: EntryPoint<number, void> = { module: import.meta.url, name: 'beginRead' }
/** Lets the kernel read a byte from a descriptor, when there is one. @returns when it has been told */
export async function beginRead(fd: number): Promise<void> {
  void LinuxIOUring.current().read(fd, Memory.allocate(1), 0, 0, 1)
  await new Promise((resolve) => setImmediate(resolve))
}
