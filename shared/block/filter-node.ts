/**
 * A node over another of the same bytes, which it passes everything on to: those over it say what they do otherwise.
 *
 * Concurrency: that of the node below.
 *
 * @see BlockDriver, is_filter, in QEMU's block_int-common.h
 */
import type { Memory } from '../syscall/memory.ts'
import type {
  BlockExtent,
  BlockLimits,
  BlockMap,
  BlockNode,
  NodeHandle,
  WriteZeroesOptions
} from './block-node.ts'

export abstract class FilterNode implements BlockNode {
  readonly driver: string
  readonly length: number
  readonly readOnly: boolean
  readonly limits: BlockLimits
  readonly takesFua: boolean
  protected readonly child: BlockNode

  /** @param child is closed with this node */
  constructor(child: BlockNode, limits = child.limits) {
    this.driver = child.driver
    this.length = child.length
    this.readOnly = child.readOnly
    this.limits = limits
    this.takesFua = child.takesFua ?? false
    this.child = child
  }

  abstract handle(): NodeHandle

  map(offset: number, length: number, out: BlockMap): boolean {
    return this.child.map(offset, length, out)
  }

  preadNowait(address: number, offset: number, length: number): boolean {
    return this.child.preadNowait(address, offset, length)
  }

  pread(memory: Memory, at: number, offset: number, length: number): Promise<void> {
    return this.child.pread(memory, at, offset, length)
  }

  pwriteNowait(address: number, offset: number, length: number): boolean {
    return this.child.pwriteNowait(address, offset, length)
  }

  pwrite(memory: Memory, at: number, offset: number, length: number, fua?: boolean): Promise<void> {
    return this.child.pwrite(memory, at, offset, length, fua)
  }

  pwriteZeroes(offset: number, length: number, options: WriteZeroesOptions): Promise<void> {
    return this.child.pwriteZeroes(offset, length, options)
  }

  pdiscard(offset: number, length: number): Promise<void> {
    return this.child.pdiscard(offset, length)
  }

  flush(): Promise<void> {
    return this.child.flush()
  }

  prefetch(offset: number, length: number): Promise<void> {
    return this.child.prefetch(offset, length)
  }

  blockStatus(offset: number, length: number, most: number): Promise<BlockExtent[]> {
    return this.child.blockStatus(offset, length, most)
  }

  isHole(offset: number, length: number): Promise<boolean> {
    return this.child.isHole?.(offset, length) ?? Promise.resolve(false)
  }

  isHoleNow(offset: number, length: number): boolean {
    return this.child.isHoleNow?.(offset, length) ?? false
  }

  close(): Promise<void> {
    return this.child.close()
  }
}
