/** A block driver for benchmarks: each read inflates 64 KiB, as a compressed image would have it. Cannot be written. */
import { constants } from 'node:os'
import * as zlib from 'node:zlib'
import type { BlockNode, NodeHandle } from '../../shared/block/block-node.ts'
import { registerDriver, type NodeOptions } from '../../shared/block/driver-registry.ts'
import type { EntryPoint } from '../../shared/aio/entry-point.ts'
import { NBDError } from '../../shared/errors/nbd-error.ts'

/** What a read inflates, and its longest. */
export const CLUSTER = 64 * 1024
const SIZE = 1024 * CLUSTER

export interface InflateOptions extends NodeOptions {
  driver: 'bench-inflate'
}

/** Text, more or less: it shrinks to a third. */
function compressedCluster(): Buffer {
  const words = Array.from({ length: 256 }, (_, i) => ((i * 2654435761) >>> 0).toString(36))
  let text = ''
  for (let i = 0; text.length < CLUSTER; i = (i * 1103515245 + 12345) & 0x7fffffff) {
    text += `${words[(i >>> 8) & 0xff]} `
  }
  return zlib.deflateSync(text.slice(0, CLUSTER))
}

function inflateNode(): BlockNode {
  const compressed = compressedCluster()
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
      zlib.inflateSync(compressed).copy(target.buffer, at, 0, length)
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
