/** Data that are sent from the page cache: they are looked at for zeroes, and nothing else. */
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
    const memory = (this.#memory ??= Memory.allocate(this.#step))
    const runs: { offset: number; length: number; zero: boolean }[] = []
    for (let at = offset; at < offset + length;) {
      // To where one ends on the disk, and so no block is cut.
      const size = Math.min(this.#step - (at % this.#step), offset + length - at)
      if (!this.#cache.read(at, size, memory)) return undefined
      for (const { start, end, zero } of zeroRuns(memory.buffer, size, at, this.#sparse)) {
        const last = runs.at(-1)
        if (last?.zero === zero) last.length += end - start
        else runs.push({ offset: at + start, length: end - start, zero })
      }
      at += size
    }
    return runs
  }
}
