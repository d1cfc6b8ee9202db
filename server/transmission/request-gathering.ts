/**
 * Letting requests come together while the client still has replies to read.
 *
 * A client that has several requests in flight sends the next with every reply that it takes. Woken for each of them, a thread
 * spends more on being woken than on the requests. As long as the client has much to read, it does not wait for us: the thread
 * sleeps until a third of that is read, or so, and takes what has come by then.
 *
 * It does so only while the connection has its thread to itself, and nothing of it is in flight; nobody else of the thread
 * waits for long.
 *
 * @context an IOThread
 */
import { AioContext } from '../../shared/aio/aio-context.ts'
import type { WindowReader } from '../../shared/io/window-reader.ts'
import { sleepNs } from '../../shared/syscall/thread.ts'

/** So many batches in a row, and nobody else's in this thread, make a connection one that has the thread to itself. */
const ENOUGH = 16
/** Replies that the client must have to read: with fewer it may soon wait for us. */
const LEAST = 4
/** What the kernel counts for a reply beside its data, at the least, in bytes. */
const OVERHEAD = 512
/** So many batches go by, where the client had less, or where no time is right for it, until it is looked at again. */
const LOOK_EVERY = 8
const REST = 64
/** The part of the replies that is read meanwhile, when the time is right. */
const LEAST_READ = 1 / 4
const USUALLY_READ = 1 / 3
const MOST_READ = 1 / 2
/** Of each sleep in what is known of them: clients read several replies together. */
const WEIGHT = 1 / 8
const STEP = 1.1
const FIRST_NS = 10_000
const SHORTEST_NS = 5000
const LONGEST_NS = 100_000

/** Who has had the thread's last batches, and how many of them. */
let last: RequestGathering | undefined
let inRow = 0

export class RequestGathering {
  readonly #reader: WindowReader
  readonly #requestSize: number
  #sleepNs = FIRST_NS
  #part = USUALLY_READ
  /** Of the last batch, on the average, in bytes. */
  #replySize = 0
  /** Batches that go by. */
  #pause = 0
  #found = false

  /** @param requestSize of a request without payload, in bytes */
  constructor(reader: WindowReader, requestSize: number) {
    this.#reader = reader
    this.#requestSize = requestSize
  }

  /**
   * A batch has been taken, and is answered.
   *
   * @param isQuiet nothing is in flight, or was left behind
   * @param bytes of payload, in `requests`
   */
  batchDone(isQuiet: boolean, requests: number, bytes: number): void {
    if (requests > 0) this.#replySize = bytes / requests + OVERHEAD
    inRow = isQuiet && last === this ? inRow + 1 : 0
    last = isQuiet ? this : undefined
  }

  /** Sleeps, if that is worth it. @returns whether requests have come to the reader's window meanwhile */
  gather(): boolean {
    this.#found = last === this && inRow >= ENOUGH && this.#gather()
    return this.#found
  }

  /** The last `gather` had a result: nobody else of the thread had a turn since. */
  get found(): boolean {
    return this.#found
  }

  #gather(): boolean {
    if (this.#pause > 0) {
      this.#pause--
      return false
    }
    if (AioContext.current().hasWork) return false
    const { channel, window } = this.#reader
    const replies = channel.unreadByPeer() / this.#replySize
    if (replies < LEAST) {
      this.#pause = LOOK_EVERY
      return false
    }
    sleepNs(this.#sleepNs)
    // The end, or an error, is for whoever waits.
    const found = this.#reader.receiveNow() > 0
    this.#adjust(window.length / this.#requestSize / replies)
    return found
  }

  /** @param part of the replies that the client has read, and has sent another request for each */
  #adjust(part: number): void {
    this.#part += (part - this.#part) * WEIGHT
    if (this.#part > MOST_READ) this.#sleepNs /= STEP
    else if (this.#part < LEAST_READ) this.#sleepNs = Math.min(this.#sleepNs * STEP, LONGEST_NS)
    const isSlow = part === 0 && this.#sleepNs === LONGEST_NS
    if (this.#sleepNs >= SHORTEST_NS && !isSlow) return
    this.#sleepNs = FIRST_NS
    this.#part = USUALLY_READ
    this.#pause = REST
  }
}
