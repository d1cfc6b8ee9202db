/**
 * Waiting for something that comes soon as a rule: the thread looks for it for a short time before it sleeps.
 *
 * ```
 * wait.begin()
 * while (wait.goesOn()) if (isThere()) return
 * // sleep until it is there
 * wait.end()
 * ```
 *
 * How long it looks follows how long such waits took before, within the polling parameters of the context. The thread does
 * nothing else meanwhile, and does not look when it has something else to do, or lost its processor while it did.
 *
 * @context home-thread
 * @see run_poll_handlers in QEMU's util/aio-posix.c
 */
import { AdaptivePolling } from './adaptive-polling.ts'
import { AioContext } from './aio-context.ts'

export class PolledWait {
  readonly #context = AioContext.current()
  readonly #adaptive = new AdaptivePolling()
  #began = 0
  #lookedAt = 0

  /** @param sinceMs when there was nothing more to do, of performance.now */
  begin(sinceMs = performance.now()): void {
    this.#began = this.#lookedAt = sinceMs
    this.#adaptive.options = this.#context.polling.options
  }

  /** Whether to look, or to look again, and not to sleep. */
  goesOn(): boolean {
    if (this.#adaptive.pollNs === 0) return false
    const now = performance.now()
    this.#adaptive.looked(this.#lookedAt, now)
    this.#context.polling.spentNs += (now - this.#lookedAt) * 1e6
    this.#lookedAt = now
    if ((now - this.#began) * 1e6 >= this.#adaptive.pollNs) return false
    return !this.#adaptive.paused(now) && !this.#context.hasWork
  }

  /** It was there when the thread had slept. */
  end(): void {
    this.#adaptive.adjust((performance.now() - this.#began) * 1e6)
  }
}
