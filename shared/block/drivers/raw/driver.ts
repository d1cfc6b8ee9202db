/**
 * The `raw` driver: the bytes of another node, or a slice of them.
 *
 * When the format was not named but guessed to be raw, a StartGuard watches over the start.
 *
 * Concurrency: that of the node below.
 *
 * @see QEMU block/raw-format.c
 */
import { size } from '../../../config/option-schema.ts'
import { configError } from '../../../errors/nbd-error.ts'
import type { Memory } from '../../../syscall/memory.ts'
import type {
  BlockExtent,
  BlockLimits,
  BlockMap,
  BlockNode,
  NodeHandle,
  WriteZeroesOptions
} from '../../block-node.ts'
import {
  attachNode,
  isOpenNode,
  openNode,
  type BlockDriver,
  type ChildNode,
  type NodeOptions
} from '../../driver-registry.ts'
import { newGuardMemory, StartGuard } from './start-guard.ts'

export interface RawOptions extends NodeOptions {
  driver: 'raw'
  file: ChildNode
  /** First byte of the slice. */
  offset?: number
  /** Bytes of the slice; up to the end when absent. */
  size?: number
  /** The format was guessed, not named. */
  probed?: boolean
  /** The open node below is this one's, to close with it, or when it cannot be opened. */
  ownsFile?: boolean
}

interface RawHandle extends NodeHandle {
  child: NodeHandle
  offset: number
  length: number
  readOnly: boolean
  /** Of the StartGuard, when the format was guessed. */
  guard: SharedArrayBuffer | undefined
}

export class RawNode implements BlockNode {
  readonly driver = 'raw'
  readonly length: number
  readonly readOnly: boolean
  readonly limits: BlockLimits
  readonly takesFua: boolean
  readonly #child: BlockNode
  readonly #offset: number
  readonly #guard: StartGuard | undefined
  readonly #keepChild: boolean

  /** @param keepChild the child has another owner, who closes it */
  constructor(
    child: BlockNode,
    { offset, length, readOnly, guard }: Omit<RawHandle, 'driver' | 'child'>,
    keepChild: boolean
  ) {
    this.length = length
    this.readOnly = readOnly
    this.#keepChild = keepChild
    this.limits = child.limits
    this.takesFua = child.takesFua ?? false
    this.#child = child
    this.#offset = offset
    this.#guard = guard && new StartGuard(child, guard)
  }

  map(offset: number, length: number, out: BlockMap): boolean {
    return this.#child.map(this.#offset + offset, length, out)
  }

  preadNowait(address: number, offset: number, length: number): boolean {
    return this.#child.preadNowait(address, this.#offset + offset, length)
  }

  pread(memory: Memory, at: number, offset: number, length: number): Promise<void> {
    return this.#child.pread(memory, at, this.#offset + offset, length)
  }

  pwriteNowait(address: number, offset: number, length: number): boolean {
    // What touches a guarded start takes the long way, where its bytes can be looked at.
    if (this.#guard?.covers(this.#offset + offset)) return false
    return this.#child.pwriteNowait(address, this.#offset + offset, length)
  }

  pwrite(memory: Memory, at: number, offset: number, length: number, fua?: boolean): Promise<void> {
    const target = this.#offset + offset
    const write = (): Promise<void> => this.#child.pwrite(memory, at, target, length, fua)
    if (!this.#guard?.covers(target)) return write()
    return this.#guard.change((start) => memory.buffer.copy(start, target, at, at + length), write)
  }

  pwriteZeroes(offset: number, length: number, options: WriteZeroesOptions): Promise<void> {
    const target = this.#offset + offset
    const zero = (): Promise<void> => this.#child.pwriteZeroes(target, length, options)
    if (!this.#guard?.covers(target)) return zero()
    return this.#guard.change((start) => start.subarray(target, target + length).fill(0), zero)
  }

  pdiscard(offset: number, length: number): Promise<void> {
    const target = this.#offset + offset
    const discard = (): Promise<void> => this.#child.pdiscard(target, length)
    if (!this.#guard?.covers(target)) return discard()
    // What is discarded reads as zeroes, or as before.
    return this.#guard.change((start) => start.subarray(target, target + length).fill(0), discard)
  }

  flush(): Promise<void> {
    return this.#child.flush()
  }

  prefetch(offset: number, length: number): Promise<void> {
    return this.#child.prefetch(this.#offset + offset, length)
  }

  blockStatus(offset: number, length: number, most: number): Promise<BlockExtent[]> {
    return this.#child.blockStatus(this.#offset + offset, length, most)
  }

  isHole(offset: number, length: number): Promise<boolean> {
    return this.#child.isHole?.(this.#offset + offset, length) ?? Promise.resolve(false)
  }

  isHoleNow(offset: number, length: number): boolean {
    return this.#child.isHoleNow?.(this.#offset + offset, length) ?? false
  }

  handle(): RawHandle {
    return {
      driver: 'raw',
      child: this.#child.handle(),
      offset: this.#offset,
      length: this.length,
      readOnly: this.readOnly,
      guard: this.#guard?.memory
    }
  }

  async close(): Promise<void> {
    if (!this.#keepChild) await this.#child.close()
  }
}

export const rawDriver: BlockDriver<RawOptions, RawHandle> = {
  name: 'raw',

  options: { offset: size, size },
  children: ['file'],

  async open(options) {
    const { file, offset = 0, size, probed = false } = options
    const readOnly = options['read-only'] ?? false
    const keepChild = isOpenNode(file) && options.ownsFile !== true
    const child = isOpenNode(file) ? file : await openNode({ ...file, 'read-only': readOnly })
    try {
      if (child.readOnly && !readOnly) {
        throw configError('the node below is read-only, so this one must be, too: read-only=on')
      }
      if (offset > child.length) {
        throw configError(`offset ${offset} is beyond the end of the image, which has ${child.length} bytes`)
      }
      const { requestAlignment } = child.limits
      if (offset % requestAlignment !== 0) {
        throw configError(`offset ${offset} is not a multiple of the image's block size, ${requestAlignment}`)
      }
      const length = size ?? child.length - offset
      if (length > child.length - offset) {
        throw configError(
          `size ${length} at offset ${offset} goes beyond the end of the image, which has ${child.length} bytes`
        )
      }
      const guard = probed ? newGuardMemory() : undefined
      return new RawNode(child, { offset, length, readOnly, guard }, keepChild)
    } catch (error) {
      if (!keepChild) await child.close()
      throw error
    }
  },

  attach: (handle) => new RawNode(attachNode(handle.child), handle, true)
}
