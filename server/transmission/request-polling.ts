/**
 * Looking for the next request of a client that sends one at a time, for the short time that it takes such a client to
 * send it, instead of sleeping and being woken.
 *
 * It does so only while the connection has its thread to itself, and nothing of it is in flight: a client that sends
 * several at a time is served best when some have come together, and others of the thread wait meanwhile.
 *
 * @context an IOThread
 */
import { PolledWait } from '../../shared/aio/polled-wait.ts'
import { WOKEN, type WindowReader } from '../../shared/io/window-reader.ts'

/** So many batches in a row, of one request each, and of nobody else's in this thread, make a client one of that kind. */
const ENOUGH = 16

/** Who has had the thread's last batches of one request, and how many of them. */
let lone: RequestPolling | undefined
let inRow = 0

export class RequestPolling {
  readonly #reader: WindowReader
  readonly #wait = new PolledWait()
  /** When the last batch was done, in ms; 0 when the time until the next tells nothing. */
  #quietSince = 0
  #found = false

  constructor(reader: WindowReader) {
    this.#reader = reader
  }

  /** A batch has been taken, and is answered. @param isAlone it was of one request, and nothing is in flight */
  batchDone(isAlone: boolean): void {
    if (isAlone && lone === this) inRow++
    else inRow = 0
    lone = isAlone ? this : undefined
    this.#quietSince = inRow >= ENOUGH ? performance.now() : 0
  }

  /** Looks for a request for as long as that is worth it. @returns whether bytes have come to the reader's window */
  poll(): boolean {
    this.#found = this.#quietSince !== 0 && this.#look()
    return this.#found
  }

  /** The last `poll` had a result: nobody else of the thread had a turn since. */
  get found(): boolean {
    return this.#found
  }

  /** Bytes have come after all, or whoever waited was woken. */
  waited(): void {
    if (this.#quietSince !== 0) this.#wait.end()
  }

  #look(): boolean {
    this.#wait.begin(this.#quietSince)
    while (this.#wait.goesOn()) {
      const n = this.#reader.receiveNow()
      // The end, or an error, is for whoever waits.
      if (n !== WOKEN) return n > 0
    }
    return false
  }
}
