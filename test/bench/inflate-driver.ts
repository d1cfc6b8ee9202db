/** A block driver for benchmarks: each read inflates 64 KiB, as a compressed image would have it. Cannot be written. */
import * as fs from 'node:fs'
import { constants } from 'node:os'
import * as zlib from 'node:zlib'
import type { BlockNode, NodeHandle } from '../../shared/block/block-node.ts'
import { registerDriver, type NodeOptions } from '../../shared/block/driver-registry.ts'
import type { EntryPoint } from '../../shared/aio/entry-point.ts'
import { NBDError } from '../../shared/errors/nbd-error.ts'
import { declare } from '../../shared/syscall/libc.ts'
import { Memory } from '../../shared/syscall/memory.ts'

/** What a read inflates, and its longest. */
export const CLUSTER = 64 * 1024
const SIZE = 1024 * CLUSTER

export interface InflateOptions extends NodeOptions {
  driver: 'bench-inflate'
}

/**
 * Node's own zlib, straight into the reply. `zlib.inflateSync` leaves 128 KiB of buffers behind each time: with those the
 * benchmark measured V8's garbage collector, which marks the heap of every thread several times a second.
 */
const uncompress = declare(
  'int uncompress(uintptr_t target, uint64_t *length, uint8_t *source, uint64_t sourceLength)'
)

/** Machine code, as disks hold it: out of the middle of Node itself. It shrinks to less than a half. */
function compressedCluster(): Buffer {
  const program = fs.openSync(process.execPath, 'r')
  try {
    const code = Buffer.alloc(CLUSTER)
    fs.readSync(program, code, 0, CLUSTER, Math.floor(fs.fstatSync(program).size / 2))
    return zlib.deflateSync(code)
  } finally {
    fs.closeSync(program)
  }
}

/** Inflates one cluster again and again. */
class Inflater {
  readonly #compressed = compressedCluster()
  readonly #length = new Uint8Array(8)
  readonly #view = new DataView(this.#length.buffer)

  /** @param address of CLUSTER bytes */
  inflate(address: number): void {
    this.#view.setBigUint64(0, BigInt(CLUSTER), true)
    if (uncompress(address, this.#length, this.#compressed, this.#compressed.length) !== 0) {
      throw new Error('the cluster cannot be inflated')
    }
  }
}

function inflateNode(): BlockNode {
  const inflater = new Inflater()
  const cluster = Memory.allocate(CLUSTER)
  const refuse = async (): Promise<never> => {
    throw new NBDError('request', 'the benchmark only reads', { errno: constants.errno.EROFS })
  }
  return {
    driver: 'bench-inflate',
    length: SIZE,
    readOnly: true,
    limits: { requestAlignment: 1, optimalTransfer: CLUSTER },
    map: () => false,
    preadNowait: () => false,
    async pread(target, at, _offset, length) {
      const whole = length === CLUSTER
      inflater.inflate(whole ? target.address + at : cluster.address)
      if (!whole) cluster.buffer.copy(target.buffer, at, 0, length)
    },
    pwriteNowait: () => false,
    pwrite: refuse,
    pwriteZeroes: refuse,
    pdiscard: refuse,
    flush: async () => undefined,
    prefetch: async () => undefined,
    blockStatus: async (_offset, length) => [{ length, flags: 0 }],
    handle: () => ({ driver: 'bench-inflate' }),
    close: async () => undefined
  }
}

/** Registers the driver in the thread that runs it. */
export const REGISTER_INFLATE: EntryPoint<undefined, void> = {
  module: import.meta.url,
  name: 'registerInflate'
}
export function registerInflate(): void {
  registerDriver<InflateOptions, NodeHandle>({
    name: 'bench-inflate',
    open: async () => inflateNode(),
    attach: inflateNode
  })
}

/** How often a thread inflates in a time that is given in ms, when it does nothing else. */
export const INFLATE_FOR: EntryPoint<number, number> = { module: import.meta.url, name: 'inflateFor' }
export async function inflateFor(ms: number): Promise<number> {
  const inflater = new Inflater()
  const { address } = Memory.allocate(CLUSTER)
  let times = 0
  for (const end = performance.now() + ms; performance.now() < end; times++) inflater.inflate(address)
  return times
}
