/**
 * How long a loop that has run out of work looks for more before it sleeps.
 *
 * The time grows while work keeps coming soon after the loop went to sleep, and shrinks when it does not: an idle
 * loop sleeps, a busy one is not woken by a system call.
 *
 * @see adjust_polling_time in QEMU's util/aio-posix.c
 */

/** Where growing begins. */
const FIRST_NS = 4000

export interface PollingOptions {
  /** Longest time to poll, in ns; 0 never polls. */
  pollMaxNs: number
  /** Factor by which the time grows; 0 stands for 2. */
  pollGrow: number
  /** Divisor by which it shrinks; 0 stops polling at once. */
  pollShrink: number
}

export const DEFAULT_POLLING: PollingOptions = { pollMaxNs: 32768, pollGrow: 0, pollShrink: 0 }

export class AdaptivePolling {
  options: PollingOptions
  /** How long to poll now, in ns. */
  pollNs = 0
  /** How long the loop has polled since it began, in ns. */
  spentNs = 0

  constructor(options: PollingOptions = DEFAULT_POLLING) {
    this.options = options
  }

  /** Tells how long it took, in ns, from running out of work until there was some again. */
  adjust(blockedNs: number): void {
    const { pollMaxNs, pollGrow, pollShrink } = this.options
    if (pollMaxNs === 0) {
      this.pollNs = 0
    } else if (blockedNs <= this.pollNs) {
      // Polling found it: the time is right.
    } else if (blockedNs > pollMaxNs) {
      this.pollNs = pollShrink === 0 ? 0 : Math.floor(this.pollNs / pollShrink)
    } else if (this.pollNs < pollMaxNs) {
      const grown = this.pollNs === 0 ? FIRST_NS : this.pollNs * (pollGrow === 0 ? 2 : pollGrow)
      this.pollNs = Math.min(grown, pollMaxNs)
    }
  }
}
