/**
 * Locks on ranges of a disk, each for one holder at a time. Who waits is not overtaken by a later one that wants some of
 * the same.
 *
 * @context the thread that connected
 * @see bdrv_make_request_serialising in QEMU's block/io.c
 */
import type { Cancellation } from '../transmission/cancellation.ts'
import type { Command } from '../transmission/pending-request.ts'

interface Range {
  start: number
  end: number
  /** Called when it is held; undefined from then on. */
  acquired: (() => void) | undefined
}

const overlap = (a: Range, b: Range): boolean => a.start < b.end && b.start < a.end

export class RangeLock {
  /** Held or waited for, in the order of asking. */
  readonly #ranges: Range[] = []

  /**
   * Waits until nobody else holds any of the bytes from `start` to `end`.
   *
   * @param command whose call may be given up meanwhile
   * @returns what gives them back
   * @throws why the call is given up
   */
  async acquire(
    start: number,
    end: number,
    command: Command,
    cancellation?: Cancellation
  ): Promise<() => void> {
    const range: Range = { start, end, acquired: undefined }
    const release = (): void => this.#release(range)
    const waits = this.#ranges.some((other) => overlap(other, range))
    this.#ranges.push(range)
    if (!waits) return release
    const acquired = new Promise<void>((resolve) => (range.acquired = resolve))
    try {
      await (cancellation ? cancellation.race(acquired, command) : acquired)
    } catch (error) {
      release()
      throw error
    }
    return release
  }

  #release(range: Range): void {
    const at = this.#ranges.indexOf(range)
    this.#ranges.splice(at, 1)
    for (let i = at; i < this.#ranges.length; i++) {
      const next = this.#ranges[i]!
      if (!next.acquired || !overlap(next, range)) continue
      if (this.#ranges.some((other, j) => j < i && overlap(other, next))) continue
      next.acquired()
      next.acquired = undefined
    }
  }
}
