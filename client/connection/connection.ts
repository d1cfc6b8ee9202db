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
import { bugError, configError, NBDError } from '../../shared/errors/nbd-error.ts'
import { QIOChannelSocket } from '../../shared/io/channel-socket.ts'
import { ChannelRelay } from '../../shared/io/channel-relay.ts'
import type { QIOChannel } from '../../shared/io/channel.ts'
import { WindowReader } from '../../shared/io/window-reader.ts'
import { NBD_EOVERFLOW } from '../../shared/protocol/constants.ts'
import { negotiate, type Wishes } from '../negotiation/newstyle.ts'
import type { Negotiated } from '../negotiation/negotiated.ts'
import type { Negotiating } from '../negotiation/negotiating.ts'
import { SharedConnection, type SharedConnectionHandle } from '../sharing/shared-connection.ts'
import type { Cancellation } from '../transmission/cancellation.ts'
import { NBD_LEAVE_TIMEOUT_MS } from '../transmission/limits.ts'
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
  /** Behind the channel. */
  readonly #relay: ChannelRelay | undefined
  /** Resolves when the descriptor is closed and nothing is in flight. */
  readonly ended: Promise<void>
  #state: 'READY' | 'DEAD' | 'CLOSED' = 'READY'
  #reason: NBDError | undefined

  private constructor(
    channel: QIOChannel,
    transmission: Transmission,
    negotiated: Negotiated,
    secure: boolean,
    relay?: ChannelRelay
  ) {
    this.negotiated = negotiated
    this.tls = secure
    this.#channel = channel
    this.#transmission = transmission
    this.#relay = relay
    transmission.onEnding = () => this.#endWithOthers()
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
      const relay = target.shareable ? relayed(negotiating) : undefined
      if (negotiating.channel instanceof QIOChannelSocket) negotiating.channel.enlargeSendBuffer()
      const transmission = new Transmission(negotiating.channel, negotiating.reader, negotiated)
      const secure = target.secure ?? target.tls !== undefined
      const connection = new Connection(negotiating.channel, transmission, negotiated, secure, relay)
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

  /**
   * Takes part in a connection that another thread has opened, or this one.
   *
   * @param handle from `share`
   * @param negotiated what that connection was negotiated to be
   * @returns a connection that is READY
   * @throws NBDError of kind `transport` when it has ended; of kind `request` (EMFILE), or when too many take part
   */
  static attach(handle: SharedConnectionHandle, negotiated: Negotiated): Connection {
    const { part, channel } = SharedConnection.join(handle)
    const transmission = new Transmission(channel, new WindowReader(channel), negotiated)
    transmission.join(part, channel)
    return new Connection(channel, transmission, negotiated, false)
  }

  /**
   * Lets other threads take part. Requests that are in flight are answered first; new ones wait meanwhile.
   *
   * @param handle of a connection that has ended, in all threads: this one takes its place
   * @returns what `attach` needs: postable, any number of times, and good for as long as somebody takes part
   * @throws NBDError of kind `config` when such a connection cannot be shared; of another kind when it has ended
   */
  async share(handle?: SharedConnectionHandle): Promise<SharedConnectionHandle> {
    if (!(this.#channel instanceof QIOChannelSocket)) {
      const text = this.tls ? 'with TLS' : 'that is not a TCP or Unix socket'
      throw configError(`a connection ${text} can be shared by threads only if it was opened as shareable`)
    }
    if (this.#state === 'CLOSED') throw new NBDError('transport', 'the connection was closed')
    if (this.#reason) throw this.#reason
    return (await this.#transmission.share(this.#channel, handle)).handle
  }

  /** @see Transmission.sendsFiles */
  get sendsFiles(): boolean {
    return this.#transmission.sendsFiles
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

  /** As `close`, in all threads that take part: each answers its calls in flight, and leaves. Never fails. */
  async closeAll(): Promise<void> {
    await this.#transmission.shared?.end(NBD_LEAVE_TIMEOUT_MS)
    await this.close()
  }

  async #run(): Promise<void> {
    const reason = await this.#transmission.run()
    if (this.#state === 'READY') {
      this.#state = 'DEAD'
      this.#reason = reason
    }
    await this.#channel.close()
    // While others need it, it goes on by itself.
    if (!this.#transmission.othersGoOn) await this.#relay?.ended
  }

  /** A server that shuts down is to be left in order, as the specification demands. */
  #leave(): void {
    if (this.#state !== 'READY') return
    this.#state = 'DEAD'
    this.#reason = new NBDError('transport', 'the server is shutting down', { errno: ESHUTDOWN })
    this.#transmission.shared?.beginEnd()
    void this.#disconnect()
  }

  /** Another thread has ended a shared connection. */
  #endWithOthers(): void {
    if (this.#state !== 'READY') return
    this.#state = 'DEAD'
    this.#reason = new NBDError('transport', 'the connection was closed')
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

/** Puts a socket in the place of a channel that is none. @throws NBDError; then that is closed */
function relayed(negotiating: Negotiating): ChannelRelay | undefined {
  const { channel, reader } = negotiating
  if (channel instanceof QIOChannelSocket) return undefined
  try {
    const relay = new ChannelRelay(channel, reader.takeUnread())
    negotiating.channel = relay.near
    negotiating.reader = new WindowReader(relay.near)
    return relay
  } catch (error) {
    void channel.close()
    throw error
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
