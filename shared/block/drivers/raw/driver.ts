/**
 * The `raw` driver: the bytes of another node, or a slice of them.
 *
 * When the format was not named but guessed to be raw, a write that would make the start look like another format
 * is refused: the next one who guesses would be led by the guest's bytes to, say, a backing file of its choice.
 *
 * Concurrency: that of the node below.
 *
 * @see QEMU block/raw-format.c
 */
import { configError, NBDError } from '../../../errors/nbd-error.ts'
import { Memory } from '../../../syscall/memory.ts'
import { EPERM } from '../../../syscall/libc.ts'
import type {
  BlockExtent,
  BlockLimits,
  BlockMap,
  BlockNode,
  NodeHandle,
  WriteZeroesOptions
} from '../../block-node.ts'
import { attachNode, openNode, type BlockDriver, type NodeOptions } from '../../driver-registry.ts'
import { PROBE_SIZE, probeFormat } from '../../probe.ts'

export interface RawOptions extends NodeOptions {
  driver: 'raw'
  file: NodeOptions
  /** First byte of the slice. */
  offset?: number
  /** Bytes of the slice; up to the end when absent. */
  size?: number
  /** The format was guessed, not named. */
  probed?: boolean
}

interface RawHandle extends NodeHandle {
  child: NodeHandle
  offset: number
  length: number
  probed: boolean
}

export class RawNode implements BlockNode {
  readonly driver = 'raw'
  readonly length: number
  readonly readOnly: boolean
  readonly limits: BlockLimits
  readonly #child: BlockNode
  readonly #offset: number
  readonly #probed: boolean

  constructor(child: BlockNode, { offset, length, probed }: Pick<RawHandle, 'offset' | 'length' | 'probed'>) {
    this.length = length
    this.readOnly = child.readOnly
    this.limits = child.limits
    this.#child = child
    this.#offset = offset
    this.#probed = probed
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
    if (this.#isGuarded(offset)) return false
    return this.#child.pwriteNowait(address, this.#offset + offset, length)
  }

  async pwrite(memory: Memory, at: number, offset: number, length: number): Promise<void> {
    if (this.#isGuarded(offset)) await this.#checkStart(memory, at, offset, length)
    return this.#child.pwrite(memory, at, this.#offset + offset, length)
  }

  pwriteZeroes(offset: number, length: number, options: WriteZeroesOptions): Promise<void> {
    return this.#child.pwriteZeroes(this.#offset + offset, length, options)
  }

  pdiscard(offset: number, length: number): Promise<void> {
    return this.#child.pdiscard(this.#offset + offset, length)
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

  handle(): RawHandle {
    return {
      driver: 'raw',
      child: this.#child.handle(),
      offset: this.#offset,
      length: this.length,
      probed: this.#probed
    }
  }

  close(): Promise<void> {
    return this.#child.close()
  }

  #isGuarded(offset: number): boolean {
    return this.#probed && this.#offset + offset < PROBE_SIZE
  }

  /** Refuses a write after which the start of the file would be taken for another format. */
  async #checkStart(memory: Memory, at: number, offset: number, length: number): Promise<void> {
    const size = Math.min(PROBE_SIZE, this.#child.length)
    const start = Memory.allocate(size)
    await this.#child.pread(start, 0, 0, size)
    const target = this.#offset + offset
    memory.buffer.copy(start.buffer, target, at, at + Math.min(length, size - target))
    const format = probeFormat(start.buffer.subarray(0, size))
    if (format === 'raw') return
    throw new NBDError(
      'request',
      `this write would make the image look like ${format}, and its format was not named when it was opened (name it: --format raw)`,
      { errno: EPERM }
    )
  }
}

export const rawDriver: BlockDriver<RawOptions, RawHandle> = {
  name: 'raw',

  async open(options) {
    const { offset = 0, size, probed = false } = options
    const child = await openNode({ ...options.file, 'read-only': options['read-only'] ?? false })
    try {
      if (offset > child.length) {
        throw configError(`offset ${offset} is beyond the end of the image, which has ${child.length} bytes`)
      }
      const length = size ?? child.length - offset
      if (length > child.length - offset) {
        throw configError(
          `size ${length} at offset ${offset} goes beyond the end of the image, which has ${child.length} bytes`
        )
      }
      return new RawNode(child, { offset, length, probed })
    } catch (error) {
      await child.close()
      throw error
    }
  },

  attach: (handle) => new RawNode(attachNode(handle.child), handle)
}
