/**
 * A node over one that takes whole blocks only, and memory at aligned addresses only: takes anything.
 *
 * A read of less is a read of the blocks around it. A write of less reads them, changes them, and writes them; meanwhile no
 * other change of the same blocks is under way, in whatever thread.
 *
 * Concurrency: that of the node below.
 *
 * @see bdrv_co_preadv_part, bdrv_co_pwritev_part, bdrv_pad_request in QEMU's block/io.c
 */
import { systemError } from '../errors/system-error.ts'
import { giveMemory, takeMemory } from '../io/memory-pool.ts'
import { ENOTSUP } from '../syscall/libc.ts'
import type { Memory } from '../syscall/memory.ts'
import type { BlockNode, NodeHandle, WriteZeroesOptions } from './block-node.ts'
import { FilterNode } from './filter-node.ts'
import { TrackedRequests } from './tracked-requests.ts'

/** Of the node below, with what its views share. */
export interface AlignedHandle extends NodeHandle {
  /** Of TrackedRequests. */
  tracked: SharedArrayBuffer
}

export class AlignedNode extends FilterNode {
  readonly #tracked: TrackedRequests
  /** Of blocks. */
  readonly #size: number
  readonly #memoryAlignment: number
  /** Behind the last whole block: what is there is written as it is. */
  readonly #tail: number

  /**
   * @param child is closed with this node
   * @param tracked of the handle, for a view of an open node
   */
  constructor(child: BlockNode, tracked?: SharedArrayBuffer) {
    const { requestAlignment, memoryAlignment = 1, optimalTransfer } = child.limits
    super(child, { requestAlignment: 1, optimalTransfer: Math.max(optimalTransfer, requestAlignment) })
    this.#tracked = new TrackedRequests(tracked)
    this.#size = requestAlignment
    this.#memoryAlignment = memoryAlignment
    this.#tail = this.#down(child.length)
  }

  override preadNowait(address: number, offset: number, length: number): boolean {
    return this.#fits(address, offset, length) && this.child.preadNowait(address, offset, length)
  }

  override pread(memory: Memory, at: number, offset: number, length: number): Promise<void> {
    if (this.#fits(memory.address + at, offset, length)) return this.child.pread(memory, at, offset, length)
    return this.#readAround(memory, at, offset, length)
  }

  /** Never: it is to be known which changes are under way. */
  override pwriteNowait(): boolean {
    return false
  }

  override pwrite(memory: Memory, at: number, offset: number, length: number, fua = false): Promise<void> {
    // The common case: whole blocks, and nobody to wait for.
    if (offset + length <= this.#tail && this.#fits(memory.address + at, offset, length)) {
      const slot = this.#tracked.begin(offset, offset + length, false)
      if (typeof slot === 'number') return this.#writeBlocks(slot, memory, at, offset, length, fua)
      return slot.then((slot) => this.#writeBlocks(slot, memory, at, offset, length, fua))
    }
    return this.#writeAny(memory, at, offset, length, fua)
  }

  override async pwriteZeroes(offset: number, length: number, options: WriteZeroesOptions): Promise<void> {
    const inBlocks = Math.max(0, Math.min(length, this.#tail - offset))
    if (inBlocks > 0) await this.#change(offset, inBlocks, () => this.#zero(offset, inBlocks, options))
    if (inBlocks === length) return
    // Once something is changed it is too late to be picky.
    const noFallback = options.noFallback && inBlocks === 0
    await this.child.pwriteZeroes(offset + inBlocks, length - inBlocks, { ...options, noFallback })
  }

  /** Blocks that would be discarded in part are left as they are. */
  override async pdiscard(offset: number, length: number): Promise<void> {
    const start = this.#up(offset)
    const end = this.#down(offset + length)
    if (end > start) await this.child.pdiscard(start, end - start)
  }

  handle(): AlignedHandle {
    return { ...this.child.handle(), tracked: this.#tracked.memory }
  }

  #down(offset: number): number {
    return offset - (offset % this.#size)
  }

  #up(offset: number): number {
    return this.#down(offset + this.#size - 1)
  }

  #fits(address: number, offset: number, length: number): boolean {
    return offset % this.#size === 0 && length % this.#size === 0 && address % this.#memoryAlignment === 0
  }

  async #readAround(memory: Memory, at: number, offset: number, length: number): Promise<void> {
    const start = this.#down(offset)
    const around = this.#up(offset + length) - start
    const bounce = takeMemory(around)
    try {
      await this.child.pread(bounce, 0, start, around)
      bounce.buffer.copy(memory.buffer, at, offset - start, offset - start + length)
    } finally {
      giveMemory(bounce)
    }
  }

  async #writeBlocks(
    slot: number,
    memory: Memory,
    at: number,
    offset: number,
    length: number,
    fua: boolean
  ): Promise<void> {
    try {
      await this.child.pwrite(memory, at, offset, length, fua)
    } finally {
      this.#tracked.end(slot)
    }
  }

  async #writeAny(memory: Memory, at: number, offset: number, length: number, fua: boolean): Promise<void> {
    const inBlocks = Math.max(0, Math.min(length, this.#tail - offset))
    if (inBlocks > 0)
      await this.#change(offset, inBlocks, () => this.#write(memory, at, offset, inBlocks, fua))
    if (inBlocks === length) return
    await this.child.pwrite(memory, at + inBlocks, offset + inBlocks, length - inBlocks, fua)
  }

  /** Makes a change of the bytes from `offset` on when no other is in its way. */
  async #change(offset: number, length: number, make: () => Promise<void>): Promise<void> {
    const start = this.#down(offset)
    const end = this.#up(offset + length)
    const begun = this.#tracked.begin(start, end, start < offset || end > offset + length)
    const slot = typeof begun === 'number' ? begun : await begun
    try {
      await make()
    } finally {
      this.#tracked.end(slot)
    }
  }

  /** Up to the last whole block. @param memory undefined for zeroes */
  async #write(
    memory: Memory | undefined,
    at: number,
    offset: number,
    length: number,
    fua: boolean
  ): Promise<void> {
    if (memory && this.#fits(memory.address + at, offset, length)) {
      await this.child.pwrite(memory, at, offset, length, fua)
      return
    }
    const start = this.#down(offset)
    const end = this.#up(offset + length)
    const bounce = takeMemory(end - start)
    try {
      if (start < offset) await this.child.pread(bounce, 0, start, this.#size)
      const last = end - this.#size
      // One block may be first and last.
      if (end > offset + length && (last > start || start === offset))
        await this.child.pread(bounce, last - start, last, this.#size)
      if (memory) memory.buffer.copy(bounce.buffer, offset - start, at, at + length)
      else bounce.buffer.fill(0, offset - start, offset - start + length)
      await this.child.pwrite(bounce, 0, start, end - start, fua)
    } finally {
      giveMemory(bounce)
    }
  }

  /** Up to the last whole block. */
  async #zero(offset: number, length: number, options: WriteZeroesOptions): Promise<void> {
    const { noFallback, fua = false } = options
    const end = offset + length
    const first = this.#up(offset)
    const last = this.#down(end)
    if (last <= first) {
      if (noFallback) throw systemError(ENOTSUP, 'zeroing without writing')
      await this.#zeroInBlocks(offset, end, fua)
      return
    }
    // Before the ends: where it is refused, nothing must have changed.
    await this.child.pwriteZeroes(first, last - first, options)
    await this.#zeroInBlocks(offset, first, fua)
    await this.#zeroInBlocks(last, end, fua)
  }

  /** Less than two blocks. */
  async #zeroInBlocks(start: number, end: number, fua: boolean): Promise<void> {
    if (end > start) await this.#write(undefined, 0, start, end - start, fua)
  }
}
