/**
 * A timer in its thread's loop, armed for a point in time.
 *
 * @see QEMUTimer in QEMU's include/qemu/timer.h
 */

/** Nanoseconds of a clock. `realtime` can be set by the operator and jumps then; `monotonic` only goes on. */
export type Clock = 'realtime' | 'monotonic'

/** Now, in ns. @see qemu_clock_get_ns */
export const clockNs = (clock: Clock): number =>
  clock === 'realtime' ? Date.now() * 1e6 : performance.now() * 1e6

/** Longest delay that setTimeout takes. */
const MAX_DELAY_MS = 0x7fffffff

export class Timer {
  readonly #clock: Clock
  readonly #callback: () => void
  #expires: number | undefined
  #timeout: NodeJS.Timeout | undefined

  /** Not armed. @context the thread in which it is to run @see timer_init */
  constructor(clock: Clock, callback: () => void) {
    this.#clock = clock
    this.#callback = callback
  }

  /** @see timer_pending */
  get pending(): boolean {
    return this.#expires !== undefined
  }

  /** Runs once, not before the clock shows `expiresNs`; replaces what was set before. @see timer_mod_ns */
  arm(expiresNs: number): void {
    this.cancel()
    this.#expires = expiresNs
    const delay = Math.ceil((expiresNs - clockNs(this.#clock)) / 1e6)
    this.#timeout = setTimeout(() => this.#fire(), Math.min(Math.max(delay, 0), MAX_DELAY_MS))
  }

  /** @see timer_del */
  cancel(): void {
    clearTimeout(this.#timeout)
    this.#expires = undefined
  }

  #fire(): void {
    if (this.#expires === undefined) return
    // libuv counts whole milliseconds from a time that it looked up earlier, and may be early by one.
    if (clockNs(this.#clock) < this.#expires) {
      this.arm(this.#expires)
      return
    }
    this.#expires = undefined
    this.#callback()
  }
}
