/** How long to wait before a connection is tried again: longer each time. */
import { NBD_FIRST_RETRY_MS, NBD_LONGEST_RETRY_MS } from './limits.ts'

export class Backoff {
  #next = 0

  /** @returns ms; 0 for the first time, then twice as long each time, up to 16 s */
  next(): number {
    const wait = this.#next
    this.#next = wait === 0 ? NBD_FIRST_RETRY_MS : Math.min(2 * wait, NBD_LONGEST_RETRY_MS)
    return wait
  }

  /** A connection has lasted so long: when it was no mere attempt, the next one is tried at once. */
  lasted(ms: number): void {
    if (ms > this.#next) this.#next = 0
  }
}
