/**
 * Which bytes of a READ have come: chunks may come in any order, must not overlap, and must leave no gap.
 *
 * Positions are relative to the request.
 */
import { NBD_MAX_FRAGMENTS } from './limits.ts'

export class Coverage {
  readonly #length: number
  /** Start and end of each piece, in order; pieces that touch are one. */
  readonly #borders: number[] = []

  constructor(length: number) {
    this.#length = length
  }

  /** Every byte has come. */
  get complete(): boolean {
    return this.#borders.length === 2 && this.#borders[0] === 0 && this.#borders[1] === this.#length
  }

  /** @returns undefined, or what is wrong with the piece from `start` to `end`, in words */
  add(start: number, end: number): string | undefined {
    if (start < 0 || end > this.#length) return 'lies outside the request'
    const borders = this.#borders
    // The first piece that ends at or behind `start`.
    let low = 0
    let high = borders.length / 2
    while (low < high) {
      const middle = (low + high) >>> 1
      if (borders[2 * middle + 1]! < start) low = middle + 1
      else high = middle
    }
    let at = 2 * low
    const touchesLeft = at < borders.length && borders[at + 1] === start
    if (touchesLeft) at += 2
    if (at < borders.length && borders[at]! < end) return 'overlaps an earlier one'
    const touchesRight = at < borders.length && borders[at] === end
    if (touchesLeft && touchesRight) borders.splice(at - 1, 2)
    else if (touchesLeft) borders[at - 1] = end
    else if (touchesRight) borders[at] = start
    else borders.splice(at, 0, start, end)
    return borders.length > 2 * NBD_MAX_FRAGMENTS ? 'is one of too many that leave gaps' : undefined
  }
}
