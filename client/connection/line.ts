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
  #connection: Connection
  #since = performance.now()
  #state: 'READY' | 'CONNECTING' | 'DEAD' = 'READY'
  #reason: NBDError | undefined

  /**
   * @param reconnecting undefined when the first loss is the end
   * @param onChange called when the state has changed
   */
  constructor(connection: Connection, reconnecting: Reconnecting | undefined, onChange: () => void) {
    this.#connection = connection
    this.#reconnecting = reconnecting
    this.#onChange = onChange
    this.#watch(connection)
  }

  get state(): 'READY' | 'CONNECTING' | 'DEAD' {
    return this.#state
  }

  /** The one that takes requests, or the last one that did. */
  get connection(): Connection {
    return this.#connection
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
    if (this.#state === 'CONNECTING') this.#change('DEAD')
    await (everywhere ? this.#connection.closeAll() : this.#connection.close())
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
      this.#abort.signal.throwIfAborted()
      checkSameExport(this.#connection.negotiated, connection.negotiated)
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
    this.#onChange()
  }
}
