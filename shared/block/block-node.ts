/**
 * What every block driver gives: a node of the graph. QEMU's C name for it is BlockDriverState.
 *
 * A node is opened in the main thread (`openNode`), which alone closes it. Other threads reach it through
 * its handle (`attachNode`): a view with the same I/O functions, which shares descriptors and learned facts
 * and has nothing to close.
 *
 * Offsets and lengths are bytes, within the node's length: the caller has checked them. Functions that return
 * a promise reject with an NBDError of kind `request` that carries an errno; each call stands for itself.
 */
import type { Memory } from '../syscall/memory.ts'

/** Where a stretch of a node lies, when it is plain bytes of a descriptor. */
export interface BlockMap {
  fd: number
  offset: number
  /** Reading the descriptor never waits for a disk: a memory file. */
  resident: boolean
}

export interface BlockLimits {
  /**
   * Offsets and lengths should be multiples of this, a power of two. What is behind the last multiple of the node's length
   * may be written as it is, and read up to the next multiple.
   */
  requestAlignment: number
  /** Of the addresses of memory, a power of two; any if not given. @see min_mem_alignment */
  memoryAlignment?: number
  /** What the medium works with best, a power of two, at least 512. */
  optimalTransfer: number
}

/** One stretch of equal status. `flags` are NBD_STATE_ bits. */
export interface BlockExtent {
  length: number
  flags: number
}

export interface WriteZeroesOptions {
  /** The stretch may become a hole. */
  mayUnmap: boolean
  /** Fail with ENOTSUP, quickly and without a change, where it would not be faster than writing. */
  noFallback: boolean
  /** As of `pwrite`. */
  fua?: boolean
}

/** What another thread needs to attach a node: postable. `driver` tells who understands the rest. */
export interface NodeHandle {
  driver: string
}

export interface BlockNode {
  readonly driver: string
  readonly length: number
  readonly readOnly: boolean
  readonly limits: BlockLimits
  /** Writes take `fua`; of other nodes nobody asks it, and flushes. @see supported_write_flags */
  readonly takesFua?: boolean

  /**
   * Says where [offset, offset + length) lies, if all of it is plain bytes of one descriptor.
   *
   * @param out filled in when the answer is true; reused by the caller
   */
  map(offset: number, length: number, out: BlockMap): boolean

  /**
   * Reads without waiting, if that can be done.
   *
   * @param address of `length` bytes of memory that the caller keeps referenced
   * @returns whether all of it was read; when false, the memory's contents are not defined
   * @see BDRV_REQ_NO_WAIT
   */
  preadNowait(address: number, offset: number, length: number): boolean

  /** Reads into `memory` at `at`, which the callee owns until the promise settles. */
  pread(memory: Memory, at: number, offset: number, length: number): Promise<void>

  /**
   * Writes at once, if the driver thinks that it will not wait long.
   *
   * @returns whether all of it was written; when false, nothing or a part was, and `pwrite` must follow
   */
  pwriteNowait(address: number, offset: number, length: number): boolean

  /**
   * Writes from `memory` at `at`, which the callee owns until the promise settles.
   *
   * @param fua resolve only when it is on stable storage; for nodes that take it @see BDRV_REQ_FUA
   */
  pwrite(memory: Memory, at: number, offset: number, length: number, fua?: boolean): Promise<void>

  /** @see blk_co_pwrite_zeroes */
  pwriteZeroes(offset: number, length: number, options: WriteZeroesOptions): Promise<void>

  /** A hint; afterwards the stretch reads as anything. @see blk_co_pdiscard */
  pdiscard(offset: number, length: number): Promise<void>

  /** Resolves when everything that was written, by whichever thread, is on stable storage. @see blk_co_flush */
  flush(): Promise<void>

  /** Brings a stretch into the cache; a hint. @see BDRV_REQ_PREFETCH */
  prefetch(offset: number, length: number): Promise<void>

  /**
   * Allocation of a stretch, in order, neighbours of equal status joined.
   *
   * @param most extents at the most; what is then missing at the end was not looked at
   * @returns at least one extent; together they are not longer than `length`
   * @see bdrv_co_block_status
   */
  blockStatus(offset: number, length: number, most: number): Promise<BlockExtent[]>

  /**
   * Whether all of a stretch is a hole and reads as zeroes, as far as that is told sooner than the stretch is read. Absent
   * where nothing is.
   *
   * @see bdrv_co_is_zero_fast
   */
  isHole?(offset: number, length: number): Promise<boolean>

  /** As `isHole`, for a stretch that is in the page cache, in this thread. */
  isHoleNow?(offset: number, length: number): boolean

  /** @context main */
  handle(): NodeHandle

  /**
   * Flushes nothing; gives descriptors and locks back. Only for opened nodes, once, after the last request.
   *
   * @context main
   */
  close(): Promise<void>
}
