/**
 * The connections behind one disk: a request goes to the one with the fewest in flight. What a lost connection left
 * unanswered is sent again by another one, or when there is one again.
 *
 * Everything may be sent again: calls in flight at the same time have no order among each other, so one that was carried
 * out twice leaves what it would have left once. What cannot be helped: a server that goes on with a request of a
 * connection that it has lost may carry it out after it was sent again and answered, over what was written there since;
 * and writes that were answered, but not flushed, are lost when the server loses them.
 *
 *   READY        a connection takes requests
 *   CONNECTING   there is none, but there may be one again: requests wait for `reconnectDelayMs` at the most
 *   DEAD         there will be none; `reason` says why
 *   CLOSED       we have ended it
 *
 * @context the thread that connected
 * @see reconnect-delay of QEMU's nbd driver
 */
import { bugError, NBDError } from '../../shared/errors/nbd-error.ts'
import { NBD_HANDSHAKE_TIMEOUT_MS } from '../negotiation/limits.ts'
import type { Negotiated } from '../negotiation/negotiated.ts'
import type { SharedConnectionHandle } from '../sharing/shared-connection.ts'
import type { Cancellation } from '../transmission/cancellation.ts'
import { describe, type Command, type Status } from '../transmission/pending-request.ts'
import { ESHUTDOWN } from '../transmission/reply-error.ts'
import { withContext } from '../with-context.ts'
import { Connection } from './connection.ts'
import { Line } from './line.ts'
import { mayPass, type Open } from './opening.ts'
import { whenRenewed } from './when-renewed.ts'

export type ConnectionState = 'READY' | 'CONNECTING' | 'DEAD' | 'CLOSED'

/** Connections as another thread is given them: postable. */
export interface SharedSetHandle {
  connections: SharedConnectionHandle[]
  negotiated: Negotiated
  /** How long requests wait for a connection; 0: what is lost is not made again. */
  delayMs: number
}

interface Waiter {
  resolve: () => void
  reject: (error: NBDError) => void
}

/** What a set consists of. */
export interface SetMembers {
  negotiated: Negotiated
  tls: boolean
  /**
   * At least one, to the same export, each with what makes it again; without a connection when one is still to be
   * made.
   */
  lines: readonly { connection: Connection | undefined; open: Open }[]
}

export class ConnectionSet {
  readonly negotiated: Negotiated
  /** All that they carry goes by TLS. */
  readonly tls: boolean
  readonly #lines: readonly Line[]
  readonly #delayMs: number
  readonly #waiters = new Set<Waiter>()
  #closed = false
  /** Runs while there is no connection, and requests wait for one. */
  #timer: NodeJS.Timeout | undefined
  /** There has been no connection for too long: requests do not wait. */
  #late = false

  /**
   * @param reconnectDelayMs how long requests wait for a connection; 0: what is lost is not made again
   * @param attemptMs for each attempt to make one again
   */
  constructor(
    { negotiated, tls, lines }: SetMembers,
    reconnectDelayMs: number,
    attemptMs = NBD_HANDSHAKE_TIMEOUT_MS
  ) {
    this.negotiated = negotiated
    this.tls = tls
    this.#delayMs = reconnectDelayMs
    this.#lines = lines.map(({ connection, open }) => {
      const reconnecting = reconnectDelayMs > 0 ? { open, timeoutMs: attemptMs } : undefined
      return new Line(connection, negotiated, reconnecting, () => this.#changed())
    })
    this.#changed()
  }

  get state(): ConnectionState {
    if (this.#closed) return 'CLOSED'
    if (this.#lines.some(({ state }) => state === 'READY')) return 'READY'
    return this.#lines.some(({ state }) => state === 'CONNECTING') ? 'CONNECTING' : 'DEAD'
  }

  /** Connections that take requests. */
  get size(): number {
    return this.#closed ? 0 : this.#lines.filter(({ state }) => state === 'READY').length
  }

  /** Whether all of them send payloads straight from files, as it is now. */
  get sendsFiles(): boolean {
    return this.#lines.every((line) => line.state === 'READY' && line.connection.sendsFiles)
  }

  /**
   * Sends a request and waits for its reply.
   *
   * @see Transmission.request
   */
  async request(command: Command, cancellation?: Cancellation): Promise<Status> {
    let lostAt: number | undefined
    for (;;) {
      const line = this.#leastLoaded()
      if (!line) {
        await this.#wait(command, cancellation)
        continue
      }
      const { connection } = line
      try {
        return await connection.request(command, cancellation)
      } catch (error) {
        if (cancellation?.cancelled || !NBDError.is(error) || !endsConnection(error)) throw error
        line.lost(connection, error)
        // One that ends every server that it is sent to must not go on for ever.
        lostAt ??= performance.now()
        if (this.#closed || !mayPass(error) || performance.now() - lostAt >= this.#delayMs) throw error
      }
    }
  }

  /**
   * Lets other threads take part in all connections.
   *
   * @throws NBDError of kind `config` when they cannot be shared; of another kind when one has ended
   */
  async share(): Promise<SharedSetHandle> {
    if (this.state !== 'READY') throw withContext('sharing', this.#reason())
    const connections = await Promise.all(this.#lines.map((line) => line.share()))
    return { connections, negotiated: this.negotiated, delayMs: this.#delayMs }
  }

  /**
   * Takes part in connections that another thread has opened. That thread makes them again.
   *
   * @throws NBDError as `Connection.attach`, unless the connection may be there again soon
   */
  static attach({ connections, negotiated, delayMs }: SharedSetHandle): ConnectionSet {
    const lines: { connection: Connection | undefined; open: Open }[] = []
    try {
      for (const handle of connections) lines.push(attachLine(handle, negotiated, delayMs > 0))
    } catch (error) {
      for (const { connection } of lines) void connection?.close()
      throw error
    }
    return new ConnectionSet({ negotiated, tls: false, lines }, delayMs)
  }

  /**
   * Takes no more requests, waits for replies to those in flight, and takes leave. Never fails.
   *
   * @param everywhere in all threads that share the connections
   */
  async close(everywhere = false): Promise<void> {
    if (this.state !== 'DEAD') this.#closed = true
    this.#changed()
    await Promise.all(this.#lines.map((line) => line.close(everywhere)))
  }

  #leastLoaded(): Line | undefined {
    if (this.#closed) return undefined
    let least: Line | undefined
    for (const line of this.#lines) {
      if (line.state !== 'READY') continue
      if (!least || line.connection.load < least.connection.load) least = line
    }
    return least
  }

  /** Returns when it is worth looking for a connection again. @throws when there is nothing to wait for */
  async #wait(command: Command, cancellation: Cancellation | undefined): Promise<void> {
    if (this.state !== 'CONNECTING' || this.#late) throw withContext(describe(command), this.#reason())
    let waiter: Waiter | undefined
    const there = new Promise<void>((resolve, reject) => {
      waiter = { resolve, reject: (error) => reject(withContext(describe(command), error)) }
      this.#waiters.add(waiter)
    })
    try {
      await (cancellation ? cancellation.race(there, command) : there)
    } finally {
      this.#waiters.delete(waiter!)
    }
  }

  /** Why no request can be taken. */
  #reason(): NBDError {
    if (this.#closed) return new NBDError('transport', 'the connection was closed')
    const reason = this.#lines.find((line) => line.reason)?.reason
    if (!reason) return bugError('no connection, and no reason for that')
    if (!this.#late) return reason
    return withContext(`the connection was lost, and not there again within ${this.#delayMs} ms`, reason)
  }

  #changed(): void {
    const { state } = this
    if (state === 'CONNECTING') {
      this.#timer ??= setTimeout(() => {
        this.#late = true
        this.#rejectAll()
      }, this.#delayMs)
      return
    }
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#late = false
    if (state !== 'READY') this.#rejectAll()
    else for (const { resolve } of [...this.#waiters]) resolve()
  }

  #rejectAll(): void {
    for (const { reject } of [...this.#waiters]) reject(this.#reason())
  }
}

function attachLine(
  handle: SharedConnectionHandle,
  negotiated: Negotiated,
  mayComeAgain: boolean
): { connection: Connection | undefined; open: Open } {
  const open = whenRenewed(handle, negotiated)
  try {
    return { connection: Connection.attach(handle, negotiated), open }
  } catch (error) {
    if (!mayComeAgain || !mayPass(error)) throw error
    return { connection: undefined, open }
  }
}

/** Other errors are of one request. */
const endsConnection = ({ kind, errno }: NBDError): boolean => kind !== 'request' || errno === ESHUTDOWN
