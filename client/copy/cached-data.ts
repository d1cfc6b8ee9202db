/**
 * Data that are sent from the page cache: they are looked at for zeroes, and nothing else. Where blocks do not even begin with
 * zeroes, not all of them is looked at.
 */
import { Memory } from '../../shared/syscall/memory.ts'
import type { PageCache } from './endpoint.ts'
import type { Piece } from './pieces.ts'
import { zeroRuns } from './zeroes.ts'

/** What is looked at in one go: it stays in the processor's cache from one time to the next. */
const STEP = 256 * 1024

export class CachedData {
  readonly #cache: PageCache
  readonly #sparse: number
  readonly #step: number
  #memory: Memory | undefined

  /** @param sparse size of the blocks of zeroes that are looked for, a power of two; 0: none are */
  constructor(cache: PageCache, sparse: number) {
    this.#cache = cache
    this.#sparse = sparse
    this.#step = Math.max(STEP, sparse)
  }

  /** Divides a piece into zeroes and data, in order. @returns undefined when not all of it is cached */
  runs(piece: Piece): Piece[] | undefined {
    const { offset, length } = piece
    if (this.#sparse === 0) return this.#cache.has(offset, length) ? [piece] : undefined
    const runs = new Runs()
    const suspects = this.#suspects(offset, length)
    for (let at = offset; at < offset + length;) {
      // To where one ends on the disk, and so no block is cut.
      const size = Math.min(this.#step - (at % this.#step), offset + length - at)
      if (suspects && !suspects.has(at - (at % this.#step))) runs.add(at, size, false)
      else if (!this.#look(at, size, runs)) return undefined
      at += size
    }
    return runs.pieces
  }

  /** Steps, by their offsets, that may have zeroes. @returns undefined when all of them may */
  #suspects(offset: number, length: number): Set<number> | undefined {
    const blocks = length - (length % this.#sparse)
    if (
      blocks === 0 ||
      offset % this.#sparse !== 0 ||
      !this.#cache.zeroStarts ||
      !this.#cache.has(offset, length)
    )
      return undefined
    const starts = this.#cache.zeroStarts(offset, blocks, this.#sparse)
    return starts && new Set(starts.map((at) => at - (at % this.#step)))
  }

  /** @returns false when it is not cached */
  #look(at: number, size: number, runs: Runs): boolean {
    const memory = (this.#memory ??= Memory.allocate(this.#step))
    if (!this.#cache.read(at, size, memory)) return false
    for (const { start, end, zero } of zeroRuns(memory.buffer, size, at, this.#sparse))
      runs.add(at + start, end - start, zero)
    return true
  }
}

/** Neighbours that are alike are one. */
class Runs {
  readonly pieces: { offset: number; length: number; zero: boolean }[] = []

  add(offset: number, length: number, zero: boolean): void {
    const last = this.pieces.at(-1)
    if (last?.zero === zero) last.length += length
    else this.pieces.push({ offset, length, zero })
  }
}
