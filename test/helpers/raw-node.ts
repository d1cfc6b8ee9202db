/** Reading and writing a block node by buffers, as a test wants it. */
import type { BlockNode } from '../../shared/block/index.ts'
import { Memory } from '../../shared/syscall/memory.ts'

export async function readNode(node: BlockNode, offset: number, length: number): Promise<Buffer> {
  const memory = Memory.allocate(length)
  await node.pread(memory, 0, offset, length)
  return Buffer.from(memory.buffer.subarray(0, length))
}

export async function writeNode(node: BlockNode, offset: number, bytes: Buffer): Promise<void> {
  const memory = Memory.allocate(bytes.length)
  memory.buffer.set(bytes)
  await node.pwrite(memory, 0, offset, bytes.length)
}

/** Descriptor of a node that is plain bytes of one. */
export function descriptorOf(node: BlockNode): number {
  const out = { fd: -1, offset: 0, resident: false }
  if (!node.map(0, 1, out)) throw new Error('the node is no descriptor')
  return out.fd
}
