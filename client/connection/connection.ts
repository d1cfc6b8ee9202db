/**
 * One connection to a server, from connecting to its end.
 *
 *   READY   requests are taken
 *   DEAD    a fault, of the server or the network, has ended it; `reason` says which
 *   CLOSED  we have ended it
 *
 * @context the thread that opened it
 */
import { constants } from 'node:os'
import { Coroutine } from '../../shared/coroutine/coroutine.ts'
import { bugError, NBDError } from '../../shared/errors/nbd-error.ts'
import type { QIOChannel } from '../../shared/io/channel.ts'
import { WindowReader } from '../../shared/io/window-reader.ts'
import { NBD_EOVERFLOW } from '../../shared/protocol/constants.ts'
import { negotiate, type Wishes } from '../negotiation/newstyle.ts'
import type { Negotiated } from '../negotiation/negotiated.ts'
import type { Negotiating } from '../negotiation/negotiating.ts'
import type { Cancellation } from '../transmission/cancellation.ts'
import { describe, type Command, type Status } from '../transmission/pending-request.ts'
import { ESHUTDOWN } from '../transmission/reply-error.ts'
import { Transmission } from '../transmission/transmission.ts'
import { withContext } from '../with-context.ts'
import type { Target } from './target.ts'

const { ETIMEDOUT } = constants.errno

export class Connection {
  readonly negotiated: Negotiated
  /** All that follows goes by TLS. */
  readonly tls: boolean
  readonly #channel: QIOChannel
  readonly #transmission: Transmission
  /** Resolves when the descriptor is closed and nothing is in flight. */
  readonly ended: Promise<void>
  #state: 'READY' | 'DEAD' | 'CLOSED' = 'READY'
  #reason: NBDError | undefined

  private constructor({ channel, reader }: Negotiating, negotiated: Negotiated, secure: boolean) {
    this.negotiated = negotiated
    this.tls = secure
    this.#channel = channel
    this.#transmission = new Transmission(channel, reader, negotiated)
    this.ended = this.#run()
  }

  /**
   * Connects and negotiates.
   *
   * @param timeoutMs for both together
   * @returns a connection that is READY
   * @throws NBDError of kind `transport`, `protocol`, `request` (the server refuses) or `config`; the signal's reason
   */
  static async open(
    target: Target,
    wishes: Wishes,
    timeoutMs: number,
    signal?: AbortSignal
  ): Promise<Connection> {
    const start = performance.now()
    try {
      const channel = await target.open(timeoutMs, signal)
      const negotiating = { channel, reader: new WindowReader(channel) }
      const left = Math.max(0, timeoutMs - (performance.now() - start))
      const negotiated = await withinTime(
        negotiating,
        Coroutine.start(() => negotiate(negotiating, target, wishes)),
        left,
        timeoutMs,
        signal
      )
      const connection = new Connection(negotiating, negotiated, target.secure ?? target.tls !== undefined)
      if (Number.isSafeInteger(negotiated.size)) return connection
      await connection.close()
      throw new NBDError('request', 'the export is larger than 2^53 - 1 bytes, which is not supported', {
        errno: NBD_EOVERFLOW
      })
    } catch (error) {
      signal?.throwIfAborted()
      if (!NBDError.is(error)) throw error
      const lost = error.kind === 'transport' && error.errno !== ETIMEDOUT
      const why = lost ? await target.explain?.() : undefined
      throw withContext(`cannot open '${target.name}'${why === undefined ? '' : `: ${why}`}`, error)
    }
  }

  /** Requests that the server has not answered yet. */
  get load(): number {
    return this.#transmission.load
  }

  get state(): 'READY' | 'DEAD' | 'CLOSED' {
    return this.#state
  }

  /** Why it is DEAD. */
  get reason(): NBDError | undefined {
    return this.#reason
  }

  /**
   * Sends a request and waits for its reply.
   *
   * @see Transmission.request
   */
  async request(command: Command, cancellation?: Cancellation): Promise<Status> {
    if (this.#state !== 'READY') throw this.#refusal(command)
    try {
      return await this.#transmission.request(command, cancellation)
    } catch (error) {
      if (NBDError.is(error) && error.kind === 'request' && error.errno === ESHUTDOWN) this.#leave()
      throw error
    }
  }

  /** Takes no more requests, waits for replies to those in flight, and takes leave. Never fails. */
  async close(): Promise<void> {
    if (this.#state === 'READY') {
      this.#state = 'CLOSED'
      await this.#disconnect()
    }
    await this.ended
  }

  async #run(): Promise<void> {
    const reason = await this.#transmission.run()
    if (this.#state === 'READY') {
      this.#state = 'DEAD'
      this.#reason = reason
    }
    await this.#channel.close()
  }

  /** A server that shuts down is to be left in order, as the specification demands. */
  #leave(): void {
    if (this.#state !== 'READY') return
    this.#state = 'DEAD'
    this.#reason = new NBDError('transport', 'the server is shutting down', { errno: ESHUTDOWN })
    void this.#disconnect()
  }

  async #disconnect(): Promise<void> {
    await this.#transmission.disconnect()
    await this.#channel.close()
  }

  #refusal(command: Command): NBDError {
    const text = describe(command)
    if (this.#state === 'CLOSED') return new NBDError('transport', `${text}: the connection was closed`)
    if (!this.#reason) return bugError('a dead connection without a reason')
    return withContext(text, this.#reason)
  }
}

/** `negotiation`, or an error when it has not ended in time; on any error the channel is closed. */
export async function withinTime<T>(
  connection: Negotiating,
  negotiation: Promise<T>,
  leftMs: number,
  timeoutMs: number,
  signal?: AbortSignal
): Promise<T> {
  let late = false
  const timer = setTimeout(() => {
    late = true
    connection.channel.shutdown('both')
  }, leftMs)
  const abort = (): void => connection.channel.shutdown('both')
  signal?.addEventListener('abort', abort)
  if (signal?.aborted) abort()
  try {
    return await negotiation
  } catch (error) {
    await connection.channel.close()
    throw late
      ? new NBDError('transport', `the handshake did not end within ${timeoutMs} ms`, {
          errno: ETIMEDOUT,
          cause: error
        })
      : error
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', abort)
  }
}
