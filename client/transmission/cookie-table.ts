/**
 * Requests in flight, by cookie. A cookie is never used twice, so that a late or doubled reply finds nobody.
 *
 * When several threads share the connection, cookies come from shared memory, and there may be none for a while: then
 * requests are held back, in order.
 *
 * @context the thread that issues the requests
 */
import type { NBDError } from '../../shared/errors/nbd-error.ts'
import { NO_PART, ORPHANED } from '../sharing/request-slots.ts'
import { PendingRequest, type Command } from './pending-request.ts'

const LOW = 0x100000000
/** High halves of cookies are below. */
const MAX_HIGH = 2 ** 21

/** Who gives out cookies for several threads. @see SharedConnection */
export interface SharedCookies {
  readonly me: number
  takeCookie(command: Command): number | undefined
  freeCookie(cookie: number): void
  ownerOf(cookie: number): number
  adopt(cookie: number): Command
}

export class CookieTable {
  readonly #requests = new Map<number, PendingRequest>()
  /** Without a cookie. */
  #held: PendingRequest[] = []
  #holding = false
  #last = 0
  #shared: SharedCookies | undefined
  /** Of the requests, those that were given up. */
  #givenUp = 0
  #waiting: { condition: () => boolean; resolve: () => void }[] = []

  /** Requests whose replies are still to come, also those that nobody waits for. */
  get size(): number {
    return this.#requests.size + this.#held.length
  }

  /**
   * Gives the request its cookie, below 2^53.
   *
   * @returns false when there is none yet; then `next` will return the request
   */
  add(request: PendingRequest): boolean {
    if (this.#holding || this.#held.length > 0 || !this.#give(request)) {
      this.#held.push(request)
      return false
    }
    return true
  }

  /** The longest of those that had no cookie, when there is one now. */
  next(): PendingRequest | undefined {
    if (this.#holding || this.#held.length === 0 || !this.#give(this.#held[0]!)) return undefined
    return this.#held.shift()
  }

  /** Holds everything back that is not in flight, and resolves when nothing is. `share` is to follow. */
  async hold(): Promise<void> {
    this.#holding = true
    await this.#until(() => this.#requests.size === 0)
  }

  /** From now on cookies come from there. */
  share(cookies: SharedCookies): void {
    this.#shared = cookies
    this.release()
  }

  /** Goes on without having been shared. */
  release(): void {
    this.#holding = false
  }

  /** @returns undefined when there is none; the part of the connection whose request it is, when it is not ours */
  find(high: number, low: number): PendingRequest | number | undefined {
    // What is not exact here is beyond 2^53, and was never given out.
    if (!this.#shared) return this.#requests.get(high * LOW + low)
    return high < MAX_HIGH ? this.#findShared(this.#shared, high * LOW + low) : undefined
  }

  /** Its reply is complete, or will never come. */
  remove(request: PendingRequest): void {
    const held = this.#held.indexOf(request)
    if (held >= 0) this.#held.splice(held, 1)
    else if (this.#requests.delete(request.cookie)) this.#shared?.freeCookie(request.cookie)
    if (request.givenUp) this.#givenUp--
    this.#check()
  }

  /** It has no cookie yet. */
  isHeld(request: PendingRequest): boolean {
    return this.#held.includes(request)
  }

  /** Lets a request fail at once; the cookie stays taken until its reply has come. */
  giveUp(request: PendingRequest, reason: unknown): void {
    request.giveUp(reason)
    this.#givenUp++
    this.#check()
  }

  /** Rejects all requests, each with this reason. */
  abandonAll(reason: NBDError): void {
    const requests = [...this.#requests.values(), ...this.#held]
    this.#requests.clear()
    this.#held = []
    this.#givenUp = 0
    for (const request of requests) if (!request.givenUp) request.abandon(reason)
    this.#check()
  }

  /** Resolves when nobody waits for a reply any more. */
  async whenAnswered(): Promise<void> {
    await this.#until(() => this.size <= this.#givenUp)
  }

  #give(request: PendingRequest): boolean {
    const cookie = this.#shared ? this.#shared.takeCookie(request.command) : ++this.#last
    if (cookie === undefined) return false
    request.cookie = cookie
    this.#requests.set(cookie, request)
    return true
  }

  #findShared(shared: SharedCookies, cookie: number): PendingRequest | number | undefined {
    const owner = shared.ownerOf(cookie)
    if (owner === shared.me) return this.#requests.get(cookie)
    if (owner === ORPHANED) return this.#adopt(shared, cookie)
    return owner === NO_PART ? undefined : owner
  }

  /** A request that nobody waits for any more: from now on as if it were one of ours that was given up. */
  #adopt(shared: SharedCookies, cookie: number): PendingRequest {
    const ignore = (): void => undefined
    const request = new PendingRequest(shared.adopt(cookie), ignore, ignore)
    request.cookie = cookie
    request.givenUp = true
    this.#givenUp++
    this.#requests.set(cookie, request)
    return request
  }

  async #until(condition: () => boolean): Promise<void> {
    if (!condition()) await new Promise<void>((resolve) => this.#waiting.push({ condition, resolve }))
  }

  #check(): void {
    if (this.#waiting.length === 0) return
    const done = this.#waiting.filter(({ condition }) => condition())
    this.#waiting = this.#waiting.filter((waiter) => !done.includes(waiter))
    for (const { resolve } of done) resolve()
  }
}

/** The two halves of a cookie, as they stand in a request. */
export const cookieHalves = (cookie: number): { cookieHigh: number; cookieLow: number } => ({
  cookieHigh: Math.floor(cookie / LOW),
  cookieLow: cookie % LOW
})
