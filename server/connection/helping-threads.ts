/**
 * Lets further IOThreads take part in a connection whose requests keep its own busy.
 *
 * @context main
 */
import { aioWaitKick } from '../../shared/aio/aio-wait.ts'
import { BottomHalf, type BottomHalfHandle } from '../../shared/aio/bottom-half.ts'
import { reason } from '../../shared/errors/system-error.ts'
import { ReadAhead } from '../../shared/io/read-ahead.ts'
import type { IOThread } from '../../shared/iothread/io-thread.ts'
import { log } from '../../shared/log/log.ts'
import { closeFd } from '../../shared/syscall/fd.ts'
import { ConnectionState } from '../transmission/connection-state.ts'
import { notTaken } from './hand-over.ts'
import { ABORT_CONNECTION, JOIN_CONNECTION, SHARE_CONNECTION } from './serve-connection.ts'

/** A connection that is being served. */
export interface ServedConnection {
  readonly id: number
  readonly server: number
  readonly peer: string
  /** Of its ConnectionState. */
  readonly memory: SharedArrayBuffer
  /** Where it began to be served. */
  readonly thread: IOThread
}

interface Watched {
  readonly state: ConnectionState
  /** Threads that take part. */
  readonly threads: Set<IOThread>
  /** It cannot go on: nobody else is to take part. */
  aborted: boolean
}

export class HelpingThreads {
  readonly #threadsOf: (exportName: string) => Iterable<IOThread>
  readonly #connections = new Map<ServedConnection, Watched>()
  readonly #bh = new BottomHalf(() => this.#look())
  #refusing = false

  /** @param threadsOf which threads may serve an export */
  constructor(threadsOf: (exportName: string) => Iterable<IOThread>) {
    this.#threadsOf = threadsOf
  }

  /** To be scheduled by an IOThread whose connection has asked for help. */
  get onHelpWanted(): BottomHalfHandle {
    return this.#bh.handle
  }

  /** Looks after a connection while `served` has not settled. */
  async watch<T>(connection: ServedConnection, served: Promise<T>): Promise<T> {
    const { id, memory, thread } = connection
    const watched = { state: new ConnectionState(memory), threads: new Set([thread]), aborted: false }
    this.#connections.set(connection, watched)
    try {
      return await served
    } catch (error) {
      // The thread where it began has died.
      this.#abort(id, watched)
      throw error
    } finally {
      this.#connections.delete(connection)
    }
  }

  /** Those that are being served. */
  get connections(): { id: number; peer: string; state: ConnectionState }[] {
    return [...this.#connections].map(([{ id, peer }, { state }]) => ({ id, peer, state }))
  }

  /** No further thread takes part: one that began after the others were told to stop would not hear of it. */
  refuse(): void {
    this.#refusing = true
  }

  close(): void {
    this.#bh.delete()
  }

  #look(): void {
    for (const [connection, watched] of this.#connections) {
      if (!watched.state.takeHelp()) continue
      this.#spread(connection, watched).catch((error: unknown) =>
        log.error({ err: error, peer: connection.peer }, `a connection stays in one thread: ${reason(error)}`)
      )
    }
  }

  /** Joins all threads of the connection's export to it; which of them get work, is settled by who is idle. */
  async #spread(connection: ServedConnection, watched: Watched): Promise<void> {
    const { id, server, peer, memory, thread } = connection
    const readAhead = ReadAhead.allocate()
    const { state, threads } = watched
    for (;;) {
      const shared = await thread.run(SHARE_CONNECTION, { id, readAhead })
      if (!shared) return
      const { socket, negotiated } = shared
      const next = [...this.#threadsOf(negotiated.exportName)].find((other) => !threads.has(other))
      if (!next || watched.aborted || this.#refusing) {
        closeFd(socket.fd)
        return
      }
      threads.add(next)
      const taken = notTaken()
      state.addPart()
      const part = { id, server, socket, taken, peer, state: memory, readAhead, negotiated }
      next.run(JOIN_CONNECTION, part).catch((error: unknown) => {
        log.error({ err: error, peer }, `a connection has lost one of its threads: ${reason(error)}`)
        if (Atomics.load(taken, 0) === 0) closeFd(socket.fd)
        state.removePart()
        aioWaitKick()
        this.#abort(id, watched)
      })
    }
  }

  /** What a dead thread had in flight will not be answered: the connection cannot go on. */
  #abort(id: number, watched: Watched): void {
    watched.aborted = true
    for (const thread of watched.threads) void thread.run(ABORT_CONNECTION, id).catch(() => undefined)
  }
}
