/** The first bytes of a node, for guessing what they are. */
import { Memory } from '../syscall/memory.ts'
import type { BlockNode } from './block-node.ts'
import { PROBE_SIZE } from './probe.ts'

/** @returns PROBE_SIZE bytes, or all when there are fewer; the caller's @throws NBDError of kind `request` */
export async function readHead(node: BlockNode): Promise<Buffer> {
  const { length, limits } = node
  const { requestAlignment } = limits
  const aligned = Math.ceil(PROBE_SIZE / requestAlignment) * requestAlignment
  const memory = Memory.allocate(aligned)
  const size = Math.min(aligned, length)
  if (size > 0) await node.pread(memory, 0, 0, size)
  return memory.buffer.subarray(0, Math.min(PROBE_SIZE, size))
}
