/**
 * A block driver for tests: a read keeps its thread busy, and its data tell where they come from. What is written is
 * kept in shared memory.
 */
import { registerDriver, type NodeOptions } from '../../shared/block/driver-registry.ts'
import type { BlockNode, NodeHandle } from '../../shared/block/block-node.ts'
import type { EntryPoint } from '../../shared/aio/entry-point.ts'

export interface BusyOptions extends NodeOptions {
  driver: 'test-busy'
  size: number
  /** How long a read keeps its thread busy. */
  busyMs: number
}

interface BusyHandle extends NodeHandle {
  memory: SharedArrayBuffer
  busyMs: number
}

function busyNode({ memory, busyMs }: BusyHandle): BlockNode {
  const bytes = Buffer.from(memory)
  return {
    driver: 'test-busy',
    length: bytes.length,
    readOnly: false,
    limits: { requestAlignment: 1, optimalTransfer: 4096 },
    map: () => false,
    preadNowait: () => false,
    async pread(target, at, offset, length) {
      const end = performance.now() + busyMs
      while (performance.now() < end);
      bytes.copy(target.buffer, at, offset, offset + length)
    },
    pwriteNowait: () => false,
    async pwrite(source, at, offset, length) {
      source.buffer.copy(bytes, offset, at, at + length)
    },
    async pwriteZeroes(offset, length) {
      bytes.fill(0, offset, offset + length)
    },
    pdiscard: async () => undefined,
    flush: async () => undefined,
    prefetch: async () => undefined,
    blockStatus: async (_offset, length) => [{ length, flags: 0 }],
    handle: (): BusyHandle => ({ driver: 'test-busy', memory, busyMs }),
    close: async () => undefined
  }
}

/** Registers the driver in the thread that runs it. */
export const REGISTER_BUSY: EntryPoint<undefined, void> = { module: import.meta.url, name: 'registerBusy' }
let registered = false
export function registerBusy(): void {
  if (registered) return
  registered = true
  registerDriver<BusyOptions, BusyHandle>({
    name: 'test-busy',
    open: async ({ size, busyMs }) =>
      busyNode({ driver: 'test-busy', memory: new SharedArrayBuffer(size), busyMs }),
    attach: busyNode
  })
}
