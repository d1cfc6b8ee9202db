/**
 * Whether to write into the page cache on the calling thread.
 *
 * Such a write is a copy of memory nearly always, but the kernel makes it wait when too much is dirty, and then
 * long. A thread that waits sends its writes through the thread pool for a while, where they stall nobody.
 *
 * A write that took long may also have lost its processor to others, and the pool would be of no use then. Only the
 * kernel knows; it is asked while there is reason to.
 */
import { voluntarySwitches } from '../../../syscall/thread.ts'

/** Larger writes go to the pool: they would keep other connections of the thread waiting by their copying alone. */
const MAX_INLINE_LENGTH = 1024 * 1024
/** A write that takes longer than this per call has waited for something. */
const SLOW_MS = 5
const HOLD_OFF_MS = 100
/** How long the kernel is asked what writes wait for, after one that took long. */
const WATCH_MS = 1000

export class InlineWritePolicy {
  readonly #switches: () => number
  readonly #now: () => number
  #holdsOff = false
  #watches = false
  /** Until when it does. */
  #until = 0
  #began = 0
  #before = 0

  /** @param switches how often the thread has waited for something so far @param now in ms */
  constructor(switches = voluntarySwitches, now = () => performance.now()) {
    this.#switches = switches
    this.#now = now
  }

  allows(length: number): boolean {
    return length <= MAX_INLINE_LENGTH && !(this.#holdsOff && this.#now() < this.#until)
  }

  /** Before an inline write. */
  begin(): void {
    this.#began = this.#now()
    if (this.#holdsOff) {
      this.#holdsOff = false
      this.#watch(this.#began)
    }
    if (!this.#watches) return
    if (this.#began > this.#until) this.#watches = false
    else this.#before = this.#switches()
  }

  /** After it. */
  end(): void {
    const now = this.#now()
    if (now - this.#began <= SLOW_MS) return
    if (this.#watches && this.#switches() !== this.#before) {
      this.#holdsOff = true
      this.#until = now + HOLD_OFF_MS
    } else {
      this.#watch(now)
    }
  }

  #watch(now: number): void {
    this.#watches = true
    this.#until = now + WATCH_MS
  }
}
