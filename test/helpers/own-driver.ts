/** A block driver of a user's own: importing this registers it, in whatever thread. */
import type { BlockNode, NodeHandle } from '../../shared/block/block-node.ts'
import { registerDriver, type NodeOptions } from '../../shared/block/driver-registry.ts'

export interface OwnOptions extends NodeOptions {
  driver: 'test-own'
  /** Each byte of the disk, whatever is written. */
  filling: number
}

interface OwnHandle extends NodeHandle {
  filling: number
}

const SIZE = 1024 * 1024

const ownNode = (filling: number): BlockNode => ({
  driver: 'test-own',
  length: SIZE,
  readOnly: false,
  limits: { requestAlignment: 1, optimalTransfer: 4096 },
  map: () => false,
  preadNowait: () => false,
  async pread(target, at, _offset, length) {
    target.buffer.fill(filling, at, at + length)
  },
  pwriteNowait: () => false,
  pwrite: async () => undefined,
  pwriteZeroes: async () => undefined,
  pdiscard: async () => undefined,
  flush: async () => undefined,
  prefetch: async () => undefined,
  blockStatus: async (_offset, length) => [{ length, flags: 0 }],
  handle: (): OwnHandle => ({ driver: 'test-own', filling }),
  close: async () => undefined
})

registerDriver<OwnOptions, OwnHandle>({
  name: 'test-own',
  module: import.meta.url,
  filenames: {
    matches: (filename) => filename.startsWith('own:'),
    parse: (filename) => ({ driver: 'test-own', filling: Number(filename.slice('own:'.length)) })
  },
  open: async ({ filling }) => ownNode(filling),
  attach: ({ filling }) => ownNode(filling)
})
