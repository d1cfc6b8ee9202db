/**
 * A block driver whose image is in memory, it says, and cannot be read all the same, but for its start: importing this
 * registers it.
 */
import * as fs from 'node:fs'
import { constants } from 'node:os'
import type { BlockNode, NodeHandle } from '../../shared/block/block-node.ts'
import { registerDriver, type NodeOptions } from '../../shared/block/driver-registry.ts'
import { systemError } from '../../shared/errors/system-error.ts'
import { inertNode } from './inert-node.ts'

export interface UnreadableOptions extends NodeOptions {
  driver: 'test-unreadable'
}

interface UnreadableHandle extends NodeHandle {
  fd: number
}

/** The start, in bytes. */
export const READABLE = 64 * 1024

const unreadableNode = (fd: number, close: () => Promise<void>): BlockNode => ({
  ...inertNode,
  driver: 'test-unreadable',
  length: 1024 * 1024,
  map(offset, _length, out) {
    Object.assign(out, { fd, offset, resident: true })
    return true
  },
  async pread(target, at, offset, length) {
    if (offset + length > READABLE) throw systemError(constants.errno.EIO, 'read')
    target.buffer.fill(0, at, at + length)
  },
  handle: (): UnreadableHandle => ({ driver: 'test-unreadable', fd }),
  close
})

registerDriver<UnreadableOptions, UnreadableHandle>({
  name: 'test-unreadable',
  module: import.meta.url,
  filenames: {
    matches: (filename) => filename === 'unreadable:',
    parse: () => ({ driver: 'test-unreadable' })
  },
  async open() {
    const fd = fs.openSync('/dev/null', 'w')
    return unreadableNode(fd, async () => fs.closeSync(fd))
  },
  attach: ({ fd }) => unreadableNode(fd, async () => undefined)
})
