/**
 * Looking for the rest of a message that a peer is about to send, for a short time, before the thread sleeps.
 *
 * @context home-thread
 */
import { PolledWait } from '../aio/polled-wait.ts'

/** How long one message keeps the others of the thread waiting while it is looked for, in ms. */
const MAX_POLLED_MS = 2

export class MessageWait {
  readonly #wait = new PolledWait()
  /** When the first look for the message found nothing. */
  #since: number | undefined
  #looks = false
  /** Looking was of no use: until it has slept there is no more of it. */
  #inVain = false

  /** Nothing is there. @returns whether to look again, and not to sleep */
  goesOn(): boolean {
    if (this.#inVain) return false
    if (!this.#looks) {
      const now = performance.now()
      this.#since ??= now
      this.#wait.begin(now)
      this.#looks = now - this.#since < MAX_POLLED_MS
    }
    this.#looks &&= this.#wait.goesOn()
    this.#inVain = !this.#looks
    return this.#looks
  }

  /** Some bytes of it were there. */
  found(): void {
    this.#looks = this.#inVain = false
  }

  /** There was something when the thread had slept. */
  slept(): void {
    this.#wait.end()
    this.found()
  }

  /** All of it has come. */
  end(): void {
    this.#since = undefined
    this.found()
  }
}
