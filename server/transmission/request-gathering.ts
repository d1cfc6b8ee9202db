/**
 * Letting the requests of a client come together that has several in flight.
 *
 * Such a client sends the next with every reply that it takes. Woken for each of them, a thread spends more on being woken than
 * on the requests; and while the client still has replies to read, it does not wait for us. So the thread sleeps until a third of
 * what the client has in flight has come, or so, and takes that together.
 *
 * It does so only while the connection has its thread to itself, and nothing of the thread waits for a disk; and between two
 * sleeps others of the thread have their turn, now and then.
 *
 * @context an IOThread
 */
import { AioContext } from '../../shared/aio/aio-context.ts'
import type { WindowReader } from '../../shared/io/window-reader.ts'
import { sleepNs } from '../../shared/syscall/thread.ts'
import { ClientDepth, LEAST } from './client-depth.ts'
import type { BatchSize } from './request-batch.ts'
import { requestsWaiting } from './requests-in-flight.ts'

/** So many batches in a row, and nobody else's in this thread, make a connection one that has the thread to itself. */
const ENOUGH = 16
/** How long others of the thread wait at the most for their turn while one sleep follows another, beside the sleep itself. */
export const MAX_GATHERING_MS = 0.5
/** So many batches go by where no time is right. */
const REST = 64
/** The part of what is in flight that comes meanwhile, when the time is right. */
const LEAST_PART = 1 / 4
const USUAL_PART = 1 / 3
const MOST_PART = 1 / 2
/** Of each sleep in what is known of them: clients send several requests together. */
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
  readonly #depth: ClientDepth
  /** Batches that go by. */
  #rest = 0
  #sleepNs = FIRST_NS
  #part = USUAL_PART
  /** Of a request and a reply, on the average, with their payloads, in the last batch; in bytes. */
  #requestSize = 1
  #replySize = 0
  #found = false

  constructor(reader: WindowReader) {
    this.#reader = reader
    this.#depth = new ClientDepth(reader)
  }

  /**
   * A batch has been taken, and is answered.
   *
   * @param isQuiet nothing of it waits for anything, and nothing was left behind
   */
  batchDone(isQuiet: boolean, { requests, received, sent }: Readonly<BatchSize>): void {
    if (requests > 0) {
      this.#requestSize = received / requests
      this.#replySize = sent / requests
    }
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
    if (this.#rest > 0) {
      this.#rest--
      return false
    }
    if (this.#depth.isLittle() || requestsWaiting() > 0 || AioContext.current().hasWork) return false
    const depth = this.#depth.look(this.#requestSize, this.#replySize)
    if (depth === 'found') return true
    if (depth < LEAST) return false
    sleepNs(this.#sleepNs)
    // The end is for whoever waits.
    const found = this.#reader.receiveNow() > 0
    this.#adjust(this.#reader.window.length / this.#requestSize, depth)
    return found
  }

  #adjust(requests: number, depth: number): void {
    this.#part += (requests / depth - this.#part) * WEIGHT
    if (this.#part > MOST_PART) this.#sleepNs /= STEP
    else if (this.#part < LEAST_PART) this.#sleepNs = Math.min(this.#sleepNs * STEP, LONGEST_NS)
    // The client takes its time, or none: there is nothing to be gained. Or it has less in flight than it had.
    const isSlow = requests <= 1 && this.#sleepNs === LONGEST_NS
    if (this.#sleepNs >= SHORTEST_NS && !isSlow) return
    this.#sleepNs = FIRST_NS
    this.#part = USUAL_PART
    this.#rest = REST
    if (isSlow) this.#depth.forget()
  }
}
