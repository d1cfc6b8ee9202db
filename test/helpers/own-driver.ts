/** A block driver of a user's own: importing this registers it, in whatever thread. */
import type { BlockNode, NodeHandle } from '../../shared/block/block-node.ts'
import { registerDriver, type NodeOptions } from '../../shared/block/driver-registry.ts'
import { inertNode } from './inert-node.ts'

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
  ...inertNode,
  driver: 'test-own',
  length: SIZE,
  async pread(target, at, _offset, length) {
    target.buffer.fill(filling, at, at + length)
  },
  handle: (): OwnHandle => ({ driver: 'test-own', filling })
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
