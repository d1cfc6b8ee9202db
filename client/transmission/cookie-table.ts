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
  #waiting: (() => void)[] = []

  get size(): number {
    return this.#requests.size
  }

  /** @returns the request's cookie, below 2^53 */
  add(request: PendingRequest): number {
    const cookie = ++this.#last
    this.#requests.set(cookie, request)
    return cookie
  }

  find(high: number, low: number): PendingRequest | undefined {
    // What is not exact here is beyond 2^53, and was never given out.
    return this.#requests.get(high * LOW + low)
  }

  remove(high: number, low: number): void {
    this.#requests.delete(high * LOW + low)
    if (this.#requests.size === 0) this.#empty()
  }

  /** Rejects all requests, each with this reason. */
  abandonAll(reason: NBDError): void {
    const requests = [...this.#requests.values()]
    this.#requests.clear()
    for (const request of requests) request.abandon(reason)
    this.#empty()
  }

  /** Resolves when nothing is in flight. */
  async whenEmpty(): Promise<void> {
    if (this.#requests.size > 0) await new Promise<void>((resolve) => this.#waiting.push(resolve))
  }

  #empty(): void {
    for (const resolve of this.#waiting.splice(0)) resolve()
  }
}

/** The two halves of a cookie, as they stand in a request. */
export const cookieHalves = (cookie: number): { cookieHigh: number; cookieLow: number } => ({
  cookieHigh: Math.floor(cookie / LOW),
  cookieLow: cookie % LOW
})
