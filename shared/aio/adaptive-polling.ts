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

/** A loop that finds nothing looks every few microseconds; when it has not for so long, another thread had its core. */
const CORE_LOST_NS = 200_000

/** How long a loop that has lost its core does not poll, in ms. */
const PAUSE_MS = 100

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
  /** No polling before, in ms of performance.now. */
  #pausedUntil = 0

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

  /** Not now: others need the core more. */
  paused(nowMs: number): boolean {
    return nowMs < this.#pausedUntil
  }

  /**
   * Tells of two looks with nothing to do between them.
   *
   * Polling pays for a thread with a core to itself. When cores are scarce, it takes them from those whose work it waits
   * for, and the kernel lets a thread that has used up its share wait longer when there is work.
   */
  looked(beforeMs: number, nowMs: number): void {
    this.spentNs += (nowMs - beforeMs) * 1e6
    if ((nowMs - beforeMs) * 1e6 > CORE_LOST_NS) this.#pausedUntil = nowMs + PAUSE_MS
  }
}
