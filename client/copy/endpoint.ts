/** What is copied from and to: the two interfaces, and what is common to those behind them. */
import { NBDError } from '../../shared/errors/nbd-error.ts'
import { errnoOf, reason } from '../../shared/errors/system-error.ts'
import type { Memory } from '../../shared/syscall/memory.ts'
import type { NBDExtent } from '../transmission/block-status.ts'

/**
 * Something of a known size that is read at any place, by any number of lanes at once.
 *
 * A lane is one of the requests that are in flight together; those of an NBD server are spread over its connections by it.
 */
export interface Source {
  readonly kind: 'random'
  /** As the user calls it. */
  readonly name: string
  /** Bytes. */
  readonly size: number
  /** What offsets and lengths must be multiples of; the end is. */
  readonly minimum: number
  /** What serves it best, a power of two. */
  readonly preferred: number
  /** How many requests it takes at once are multiplied by this. */
  readonly connections: number

  /** Of a file, whose page cache may be looked at. */
  readonly cache?: PageCache

  /**
   * Reads.
   *
   * @param memory asked for when there is something to put at its start; the source's until this settles
   * @throws NBDError
   */
  read(offset: number, length: number, memory: () => Memory, lane: number): Promise<void>

  /** As `read`, for a destination that `drops` what it gets. Absent where that is no less work. @throws NBDError */
  readAndDrop?(offset: number, length: number, lane: number): Promise<void>

  /** Extents of the range, in order, without a gap. Where nothing is known, all is data. @throws NBDError */
  extents(offset: number, length: number): AsyncGenerator<NBDExtent, void, undefined>

  /** @throws NBDError */
  close(): Promise<void>
}

/** What of a file is in memory already. */
export interface PageCache {
  readonly fd: number
  has(offset: number, length: number): boolean

  /** Reads without waiting. @returns whether all was there */
  read(offset: number, length: number, memory: Memory): boolean

  /**
   * Looks at the beginning of each block of a range that the cache `has`.
   *
   * @param block a power of two; offset and length are multiples of it
   * @returns offsets of those that begin with zeroes, in order: the others are data; undefined when it cannot be told
   */
  zeroStarts?(offset: number, length: number, block: number): number[] | undefined
}

/** Something that is read once, from the beginning to the end, wherever that is. */
export interface StreamSource {
  readonly kind: 'stream'
  readonly name: string

  /**
   * Reads the next bytes.
   *
   * @param memory the source's until this settles
   * @returns how many: fewer than `length` only at the end
   * @throws NBDError
   */
  next(memory: Memory, length: number): Promise<number>

  close(): Promise<void>
}

export interface Destination {
  readonly name: string
  /** Bytes; undefined where as many fit as come. */
  readonly size: number | undefined
  readonly minimum: number
  readonly preferred: number
  readonly connections: number
  /** Takes only what follows what it got before. */
  readonly sequential: boolean
  /** It makes a difference whether zeroes are written to it, or told. */
  readonly sparse: boolean
  /** Looks at nothing that is written to it. */
  readonly drops?: boolean
  /** All of it reads as zeroes. Valid after `prepare`. */
  readonly isZero: boolean

  /**
   * The copy begins. A regular file loses what was in it, and gets its size.
   *
   * @param size of the source, no more than `size`; undefined for a stream
   * @throws NBDError
   */
  prepare(size: number | undefined): Promise<void>

  /** Writes a part of `memory`, which is the destination's until this settles. @throws NBDError */
  write(offset: number, length: number, memory: Memory, at: number, lane: number): Promise<void>

  /**
   * Writes a part of a file, that from the same offset on, which does not pass through our memory. Absent where it would.
   *
   * @param fd stays open until this settles
   * @throws NBDError; also when the file has become shorter
   */
  writeFile?(offset: number, length: number, fd: number, lane: number): Promise<void>

  /** Makes a range read as zeroes, as a hole or, with `allocate`, not. @throws NBDError */
  zero(offset: number, length: number, allocate: boolean, lane: number): Promise<void>

  /** All is written. @param size that was copied @throws NBDError */
  finish(size: number): Promise<void>

  /** Brings everything to stable storage. @throws NBDError */
  flush(): Promise<void>

  /** @throws NBDError when something that was written is lost */
  close(): Promise<void>
}

/** An error that says what it kept from happening. */
export function failure(what: string, error: unknown): unknown {
  const errno = errnoOf(error)
  const kind = NBDError.is(error) ? error.kind : 'request'
  if (!NBDError.is(error) && errno === undefined) return error
  return new NBDError(kind, `${what}: ${reason(error)}`, {
    ...(errno === undefined ? {} : { errno }),
    cause: error
  })
}
