/**
 * Requests in flight, by cookie. A cookie is never used twice, so that a late or doubled reply finds nobody.
 *
 * @context the connection's thread
 */
import type { NBDError } from '../../shared/errors/nbd-error.ts'
import type { PendingRequest } from './pending-request.ts'

const LOW = 0x100000000

export class CookieTable {
  readonly #requests = new Map<number, PendingRequest>()
  #last = 0
  /** Of the requests, those that were given up. */
  #givenUp = 0
  #waiting: (() => void)[] = []

  /** Requests whose replies are still to come, also those that nobody waits for. */
  get size(): number {
    return this.#requests.size
  }

  /** Gives the request its cookie, below 2^53. */
  add(request: PendingRequest): void {
    request.cookie = ++this.#last
    this.#requests.set(request.cookie, request)
  }

  find(high: number, low: number): PendingRequest | undefined {
    // What is not exact here is beyond 2^53, and was never given out.
    return this.#requests.get(high * LOW + low)
  }

  /** Its reply is complete, or will never come. */
  remove(request: PendingRequest): void {
    this.#requests.delete(request.cookie)
    if (request.givenUp) this.#givenUp--
    this.#check()
  }

  /** Lets a request fail at once; the cookie stays taken until its reply has come. */
  giveUp(request: PendingRequest, reason: unknown): void {
    request.giveUp(reason)
    this.#givenUp++
    this.#check()
  }

  /** Rejects all requests, each with this reason. */
  abandonAll(reason: NBDError): void {
    const requests = [...this.#requests.values()]
    this.#requests.clear()
    this.#givenUp = 0
    for (const request of requests) if (!request.givenUp) request.abandon(reason)
    this.#check()
  }

  /** Resolves when nobody waits for a reply any more. */
  async whenAnswered(): Promise<void> {
    if (this.#requests.size > this.#givenUp) await new Promise<void>((resolve) => this.#waiting.push(resolve))
  }

  #check(): void {
    if (this.#requests.size > this.#givenUp) return
    for (const resolve of this.#waiting.splice(0)) resolve()
  }
}

/** The two halves of a cookie, as they stand in a request. */
export const cookieHalves = (cookie: number): { cookieHigh: number; cookieLow: number } => ({
  cookieHigh: Math.floor(cookie / LOW),
  cookieLow: cookie % LOW
})
