/**
 * A node that is an export of another NBD server.
 *
 * Concurrency: multiqueue. The main thread connects, or with TLS a thread of its own; all threads send requests by this one
 * connection, and each reads the replies to its own.
 *
 * What the server does not offer is done otherwise where it can be: zeroes are written, a discard or a hint does nothing.
 * A flush does nothing, too, when there is none: the server then says that it has nothing to flush.
 *
 * @see QEMU's block/nbd.c
 */
import { constants } from 'node:os'
import type {
  BlockExtent,
  BlockLimits,
  BlockNode,
  NodeHandle,
  WriteZeroesOptions
} from '../../shared/block/block-node.ts'
import { NBDError } from '../../shared/errors/nbd-error.ts'
import type { Memory } from '../../shared/syscall/memory.ts'
import { NBDDisk, type DiskHandle } from '../nbd-disk.ts'
import { ESHUTDOWN } from '../transmission/reply-error.ts'
import type { OriginThread } from './origin-thread.ts'

const { EIO, ENOTSUP } = constants.errno

/** Zeroes that are written at a time, where the server cannot make them itself. */
const ZEROES = 1024 * 1024
let zeroes: Buffer | undefined

export interface NbdHandle extends NodeHandle {
  disk: DiskHandle
  readOnly: boolean
  /** Flushes do nothing. */
  noFlush: boolean
}

export class NbdNode implements BlockNode {
  readonly driver = 'nbd'
  readonly length: number
  readonly readOnly: boolean
  readonly limits: BlockLimits
  readonly takesFua: boolean
  readonly #disk: NBDDisk
  readonly #handle: NbdHandle
  readonly #origin: OriginThread | undefined

  /**
   * @param disk the node's
   * @param origin the thread that has the connection, if it is not this one: the node's, too
   */
  constructor(disk: NBDDisk, handle: NbdHandle, origin?: OriginThread) {
    const { minimum, preferred } = disk.blockSizes
    this.length = disk.size
    this.readOnly = handle.readOnly
    this.limits = { requestAlignment: minimum, optimalTransfer: Math.max(preferred, 512) }
    this.takesFua = disk.flags.canFua && !handle.noFlush
    this.#disk = disk
    this.#handle = handle
    this.#origin = origin
  }

  /** The view of another thread's node. */
  static attach(handle: NbdHandle): NbdNode {
    return new NbdNode(NBDDisk.attach(handle.disk), handle)
  }

  map(): boolean {
    return false
  }

  preadNowait(): boolean {
    return false
  }

  async pread(memory: Memory, at: number, offset: number, length: number): Promise<void> {
    await asRequest(this.#disk.read(offset, memory.buffer.subarray(at, at + length)))
  }

  pwriteNowait(): boolean {
    return false
  }

  pwrite(memory: Memory, at: number, offset: number, length: number, fua = false): Promise<void> {
    return asRequest(this.#disk.write(offset, memory.buffer.subarray(at, at + length), { fua }))
  }

  async pwriteZeroes(offset: number, length: number, options: WriteZeroesOptions): Promise<void> {
    const { canZero, canFastZero } = this.#disk.flags
    const { mayUnmap, noFallback, fua = false } = options
    if (noFallback && !canFastZero)
      throw new NBDError('request', 'the server cannot zero faster than it writes', { errno: ENOTSUP })
    if (canZero)
      await asRequest(this.#disk.zero(offset, length, { noHole: !mayUnmap, fast: noFallback, fua }))
    else await this.#writeZeroes(offset, length, fua)
  }

  async pdiscard(offset: number, length: number): Promise<void> {
    if (this.#disk.flags.canTrim) await asRequest(this.#disk.trim(offset, length))
  }

  async flush(): Promise<void> {
    if (this.#disk.flags.canFlush && !this.#handle.noFlush) await asRequest(this.#disk.flush())
  }

  async prefetch(offset: number, length: number): Promise<void> {
    if (this.#disk.flags.canCache) await asRequest(this.#disk.cache(offset, length))
  }

  async blockStatus(offset: number, length: number, most: number): Promise<BlockExtent[]> {
    if (!this.#disk.flags.canBlockStatus) return [{ length, flags: 0 }]
    return asRequest(this.#extents(offset, length, most))
  }

  handle(): NbdHandle {
    return this.#handle
  }

  /** The views of other threads end, too. */
  async close(): Promise<void> {
    if (!this.#origin) return this.#disk.closeAll()
    await this.#disk.close()
    await this.#origin.close()
  }

  async #extents(offset: number, length: number, most: number): Promise<BlockExtent[]> {
    const extents: BlockExtent[] = []
    for await (const { length: size, flags } of this.#disk.blockStatus(offset, length)) {
      extents.push({ length: size, flags })
      if (extents.length === most) break
    }
    return extents
  }

  async #writeZeroes(offset: number, length: number, fua: boolean): Promise<void> {
    zeroes ??= Buffer.alloc(ZEROES)
    for (let at = 0; at < length; at += ZEROES) {
      const some = zeroes.subarray(0, Math.min(ZEROES, length - at))
      await asRequest(this.#disk.write(offset + at, some, { fua }))
    }
  }
}

/** An error of the connection is one of each request, as a disk's would be. */
async function asRequest<T>(promise: Promise<T>): Promise<T> {
  try {
    return await promise
  } catch (error) {
    if (!NBDError.is(error) || (error.kind === 'request' && error.errno !== ESHUTDOWN)) throw error
    throw new NBDError('request', error.message, { errno: EIO, cause: error })
  }
}
