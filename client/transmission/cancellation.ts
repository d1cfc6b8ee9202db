/**
 * When a call is given up: its signal, or its time limit.
 *
 * @context the thread of the call
 */
import { constants } from 'node:os'
import { NBDError } from '../../shared/errors/nbd-error.ts'
import { withContext } from '../with-context.ts'
import { describe, type Command } from './pending-request.ts'

const { EINVAL, ETIMEDOUT } = constants.errno
/** The longest that a timer of Node's takes. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1

export interface CallOptions {
  /** Gives the call up: it fails at once, with the signal's reason. */
  signal?: AbortSignal | undefined
  /** Gives the call up after so long: it fails with ETIMEDOUT. Without it, the time limit given to `connect` holds. */
  timeoutMs?: number | undefined
}

export class Cancellation {
  readonly #signal: AbortSignal | undefined
  readonly #timer: NodeJS.Timeout | undefined
  readonly #listeners = new Set<(reason: unknown) => void>()
  #cancelled = false
  #reason: unknown

  private constructor(signal: AbortSignal | undefined, timeoutMs: number | undefined) {
    this.#signal = signal
    if (signal) share(signal, this)
    if (timeoutMs === undefined) return
    this.#timer = setTimeout(() => {
      this.#cancel(new NBDError('request', `no reply within ${timeoutMs} ms`, { errno: ETIMEDOUT }))
    }, timeoutMs)
  }

  /**
   * Starts the clock of a call.
   *
   * @returns undefined when nothing limits the call; otherwise to be ended with it
   * @throws the signal's reason when it has aborted; NBDError EINVAL when the time is not one
   */
  static start({ signal, timeoutMs }: CallOptions): Cancellation | undefined {
    if (signal === undefined && timeoutMs === undefined) return undefined
    checkTimeout('timeoutMs', timeoutMs)
    signal?.throwIfAborted()
    return new Cancellation(signal, timeoutMs)
  }

  get cancelled(): boolean {
    return this.#cancelled
  }

  /** @throws the signal's reason, or NBDError ETIMEDOUT */
  throwIfCancelled(): void {
    if (this.#cancelled) throw this.#reason
  }

  /** @param listener called once, with why the call is given up; not when that is so already */
  add(listener: (reason: unknown) => void): void {
    this.#listeners.add(listener)
  }

  delete(listener: (reason: unknown) => void): void {
    this.#listeners.delete(listener)
  }

  /**
   * `promise`, or, as soon as the call is given up, the reason; what comes of the promise then is dropped.
   *
   * @param command for the message
   */
  race<T>(promise: Promise<T>, command: Command): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const giveUp = (reason: unknown): void =>
        reject(NBDError.is(reason) ? withContext(describe(command), reason) : (reason as Error))
      if (this.#cancelled) giveUp(this.#reason)
      else this.add(giveUp)
      promise.then(resolve, reject).finally(() => this.delete(giveUp))
    })
  }

  /** The call has ended. */
  end(): void {
    clearTimeout(this.#timer)
    if (this.#signal) unshare(this.#signal, this)
    this.#listeners.clear()
  }

  /** The signal has aborted. */
  abort(): void {
    this.#cancel(this.#signal!.reason)
  }

  #cancel(reason: unknown): void {
    if (this.#cancelled) return
    this.#cancelled = true
    this.#reason = reason
    const listeners = [...this.#listeners]
    this.end()
    for (const listener of listeners) listener(reason)
  }
}

/**
 * Calls by the signal that may end them. Each signal has one listener of ours, however many calls share it: Node warns of
 * more than ten, and is slow to take one away among thousands.
 */
const sharers = new WeakMap<AbortSignal, Set<Cancellation>>()

function abortAll({ target }: Event): void {
  for (const cancellation of [...(sharers.get(target as AbortSignal) ?? [])]) cancellation.abort()
}

function share(signal: AbortSignal, cancellation: Cancellation): void {
  const calls = sharers.get(signal) ?? new Set()
  if (calls.size === 0) signal.addEventListener('abort', abortAll)
  sharers.set(signal, calls.add(cancellation))
}

function unshare(signal: AbortSignal, cancellation: Cancellation): void {
  const calls = sharers.get(signal)
  if (calls?.delete(cancellation) && calls.size === 0) signal.removeEventListener('abort', abortAll)
}

/** @throws NBDError EINVAL unless it is absent or a time that a timer takes */
export function checkTimeout(name: string, ms: number | undefined): void {
  if (ms === undefined || (Number.isInteger(ms) && ms > 0 && ms <= MAX_TIMEOUT_MS)) return
  const text = `${name} must be a whole number from 1 to ${MAX_TIMEOUT_MS}`
  throw new NBDError('request', text, { errno: EINVAL })
}
