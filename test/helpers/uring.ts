/** io_uring in tests, and in a thread of a test. */
import * as fs from 'node:fs'
import { checkIOUring, LinuxIOUring, RING_ENTRIES } from '../../shared/aio/linux-io-uring.ts'
import type { EntryPoint } from '../../shared/aio/entry-point.ts'
import { attachNode } from '../../shared/block/driver-registry.ts'
import type { NodeHandle } from '../../shared/block/block-node.ts'
import '../../shared/block/drivers/index.ts'
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

export const READ_NODE: EntryPoint<NodeHandle, number> = { module: import.meta.url, name: 'readNode' }
/** Reads the first page of a node. @returns rings of the process then */
export async function readNode(handle: NodeHandle): Promise<number> {
  await attachNode(handle).pread(Memory.allocate(4096, 4096), 0, 0, 4096)
  return rings()
}

export const WRITE_NODE: EntryPoint<NodeHandle, number> = { module: import.meta.url, name: 'writeNode' }
/** Writes the first page of a node. @returns rings of the process then */
export async function writeNode(handle: NodeHandle): Promise<number> {
  await attachNode(handle).pwrite(Memory.allocate(4096, 4096), 0, 0, 4096, false)
  return rings()
}

/** How many of ours there are in this process: those of libuv, from Node 22 on, are shorter. */
export const rings = (): number =>
  fs
    .readdirSync('/proc/self/fdinfo')
    .filter((fd) => informationOf(fd).includes(`SqMask:\t0x${(RING_ENTRIES - 1).toString(16)}\n`)).length

function informationOf(fd: string): string {
  try {
    return fs.readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1')
  } catch {
    // The one that listed them is gone.
    return ''
  }
}
