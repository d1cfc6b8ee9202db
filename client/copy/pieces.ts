/** What is to be done, piece by piece: extents of the source, made fit for requests. */
import { NBD_STATE_ZERO } from '../../shared/protocol/constants.ts'
import type { NBDExtent } from '../transmission/block-status.ts'
import { MAX_REQUEST_SIZE, MIN_HOLE_SIZE } from './limits.ts'

export interface Piece {
  readonly offset: number
  readonly length: number
  /** It reads as zeroes, and need not be read. */
  readonly zero: boolean
}

/**
 * Stretches of data and of zeroes, in order, without a gap. Borders between them are aligned, in favour of data, and
 * short stretches of zeroes count as data.
 *
 * @param extents from 0 to `size`
 * @param align a power of two
 */
export async function* alignedStretches(
  extents: AsyncIterable<NBDExtent>,
  size: number,
  align: number
): AsyncGenerator<Piece, void, undefined> {
  const down = (offset: number): number => (offset === size ? size : offset - (offset % align))
  const minHole = Math.min(MIN_HOLE_SIZE, size)
  /** Behind what has been told; from here on all is data. */
  let at = 0
  for await (const { offset, length, flags } of extents) {
    const end = down(offset + length)
    // Where a border is not aligned, the block that it lies in is data.
    const start = Math.max(at, Math.min(Math.ceil(offset / align) * align, size))
    if ((flags & NBD_STATE_ZERO) !== 0 && end - start >= minHole) {
      if (start > at) yield { offset: at, length: start - at, zero: false }
      yield { offset: start, length: end - start, zero: true }
      at = end
    } else if (end - at >= MAX_REQUEST_SIZE) {
      // Not sooner: many extents may be short, and go into one request.
      yield { offset: at, length: end - at, zero: false }
      at = end
    }
  }
  if (at < size) yield { offset: at, length: size - at, zero: false }
}

/** Hands out pieces, each once, to whoever asks next. */
export class PieceQueue {
  readonly #stretches: AsyncGenerator<Piece, void, undefined>
  readonly #dataSize: number
  readonly #zeroSize: number
  #offset = 0
  #end = 0
  #zero = false
  #advancing: Promise<boolean> | undefined

  /**
   * @param dataSize longest piece of data; they end at multiples of it
   * @param zeroSize of zeroes, likewise
   */
  constructor(stretches: AsyncGenerator<Piece, void, undefined>, dataSize: number, zeroSize: number) {
    this.#stretches = stretches
    this.#dataSize = dataSize
    this.#zeroSize = zeroSize
  }

  /** @returns undefined when there are no more @throws what the stretches throw */
  async take(): Promise<Piece | undefined> {
    while (this.#offset === this.#end) {
      if (!(await (this.#advancing ??= this.#advance()))) return undefined
    }
    const offset = this.#offset
    const size = this.#zero ? this.#zeroSize : this.#dataSize
    const length = Math.min(size - (offset % size), this.#end - offset)
    this.#offset += length
    return { offset, length, zero: this.#zero }
  }

  async #advance(): Promise<boolean> {
    const { done, value } = await this.#stretches.next()
    // Else all who wait for it, now and later, hear that it is the end.
    if (done) return false
    this.#offset = value.offset
    this.#end = value.offset + value.length
    this.#zero = value.zero
    this.#advancing = undefined
    return true
  }
}
