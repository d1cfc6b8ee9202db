/**
 * One of the connections behind a disk, made again when it is lost, if that is wanted.
 *
 *   READY        `connection` takes requests
 *   CONNECTING   lost; tried again, ever less often
 *   DEAD         of no use any more; `reason` says why
 *
 * @context the thread that connected
 * @see NBDConnection and nbd_reconnect_attempt in QEMU's block/nbd.c
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { NBDError } from '../../shared/errors/nbd-error.ts'
import { Backoff } from './backoff.ts'
import type { Negotiated } from '../negotiation/negotiated.ts'
import { SharedConnection, type SharedConnectionHandle } from '../sharing/shared-connection.ts'
import type { Connection } from './connection.ts'
import { mayPass, type Open } from './opening.ts'
import { checkSameExport } from './same-export.ts'

export interface Reconnecting {
  open: Open
  /** For each attempt. */
  timeoutMs: number
}

export class Line {
  readonly #reconnecting: Reconnecting | undefined
  readonly #onChange: () => void
  readonly #backoff = new Backoff()
  readonly #abort = new AbortController()
  readonly #negotiated: Negotiated
  /** Undefined before there is the first one. */
  #connection: Connection | undefined
  /** Of the connection, and of those that take its place, when other threads take part. */
  #shared: SharedConnectionHandle | undefined
  #since = performance.now()
  #state: 'READY' | 'CONNECTING' | 'DEAD' = 'READY'
  #reason: NBDError | undefined

  /**
   * @param connection undefined when there is none yet, and `reconnecting` is to make it
   * @param negotiated what each connection must be
   * @param reconnecting undefined when the first loss is the end
   * @param onChange called when the state has changed
   */
  constructor(
    connection: Connection | undefined,
    negotiated: Negotiated,
    reconnecting: Reconnecting | undefined,
    onChange: () => void
  ) {
    this.#connection = connection
    this.#negotiated = negotiated
    this.#reconnecting = reconnecting
    this.#onChange = onChange
    if (connection) {
      this.#watch(connection)
    } else {
      this.#state = 'CONNECTING'
      void this.#reconnect(reconnecting!)
    }
  }

  get state(): 'READY' | 'CONNECTING' | 'DEAD' {
    return this.#state
  }

  /** The one that takes requests, or the last one that did; once it was READY. */
  get connection(): Connection {
    return this.#connection!
  }

  /** Lets other threads take part in the connection, and in those that take its place. @throws NBDError as Connection.share */
  async share(): Promise<SharedConnectionHandle> {
    return (this.#shared ??= await this.connection.share())
  }

  /** Why it is DEAD, or what keeps it from being READY. */
  get reason(): NBDError | undefined {
    return this.#reason
  }

  /** A request has met with the connection's end. */
  lost(connection: Connection, error: NBDError): void {
    if (this.#state !== 'READY' || connection !== this.#connection) return
    // What an error of one request was caused by.
    this.#reason = connection.reason ?? (NBDError.is(error.cause) ? error.cause : error)
    if (!this.#reconnecting || this.#abort.signal.aborted || !mayPass(error)) {
      this.#change('DEAD')
      return
    }
    this.#backoff.lasted(performance.now() - this.#since)
    this.#change('CONNECTING')
    void this.#reconnect(this.#reconnecting)
  }

  /**
   * Takes no more requests, waits for those in flight, and takes leave. Never fails.
   *
   * @param everywhere in all threads that share the connection
   */
  async close(everywhere: boolean): Promise<void> {
    this.#abort.abort()
    if (this.#shared) SharedConnection.finish(this.#shared)
    if (this.#state === 'CONNECTING') this.#change('DEAD')
    await (everywhere ? this.#connection?.closeAll() : this.#connection?.close())
  }

  async #reconnect({ open, timeoutMs }: Reconnecting): Promise<void> {
    const { signal } = this.#abort
    while (this.#state === 'CONNECTING') {
      try {
        await sleep(this.#backoff.next(), undefined, { signal })
        await this.#take(await open(timeoutMs, signal))
        // It may be lost again by now: then another round is under way.
        return
      } catch (error) {
        if (signal.aborted) return
        this.#reason = NBDError.is(error) ? error : new NBDError('bug', String(error), { cause: error })
        if (!mayPass(error)) this.#change('DEAD')
      }
    }
  }

  async #take(connection: Connection): Promise<void> {
    try {
      const { signal } = this.#abort
      checkSameExport(this.#negotiated, connection.negotiated)
      if (this.#shared) {
        await SharedConnection.vacated(this.#shared, () => signal.aborted)
        signal.throwIfAborted()
        await connection.share(this.#shared)
      }
      signal.throwIfAborted()
    } catch (error) {
      await connection.close()
      throw error
    }
    this.#connection = connection
    this.#since = performance.now()
    this.#watch(connection)
    this.#change('READY')
  }

  /** A connection may end while nobody asks for anything. */
  #watch(connection: Connection): void {
    void connection.ended.then(() => {
      if (connection.reason) this.lost(connection, connection.reason)
    })
  }

  #change(state: 'READY' | 'CONNECTING' | 'DEAD'): void {
    this.#state = state
    if (state === 'DEAD' && this.#shared) SharedConnection.finish(this.#shared)
    this.#onChange()
  }
}
