/**
 * Whether to write into the page cache on the calling thread.
 *
 * Such a write is a copy of memory nearly always, but the kernel makes it wait when too much is dirty, and then
 * long. A thread that just waited sends its writes through the thread pool for a while, where they stall nobody.
 */

/** Larger writes go to the pool: they would keep other connections of the thread waiting by their copying alone. */
const MAX_INLINE_LENGTH = 1024 * 1024
/** A write that takes longer than this per call has waited for something. */
const SLOW_MS = 5
const HOLD_OFF_MS = 100

export class InlineWritePolicy {
  #until = 0

  allows(length: number): boolean {
    return length <= MAX_INLINE_LENGTH && (this.#until === 0 || this.#recovered())
  }

  /** Tells how long an inline write took. */
  took(ms: number, now: number): void {
    if (ms > SLOW_MS) this.#until = now + HOLD_OFF_MS
  }

  #recovered(): boolean {
    if (performance.now() < this.#until) return false
    this.#until = 0
    return true
  }
}
