/**
 * The server: listeners, IOThreads and exports, and the connections between them.
 *
 * @context main
 */
import { availableParallelism } from 'node:os'
import { configError, NBDError } from '../shared/errors/nbd-error.ts'
import { reason } from '../shared/errors/system-error.ts'
import type { BlockNode } from '../shared/block/block-node.ts'
import { IOThread } from '../shared/iothread/io-thread.ts'
import { log } from '../shared/log/log.ts'
import {
  NBD_HANDSHAKE_TIMEOUT_MS,
  NBD_MAX_IN_FLIGHT_BYTES,
  NBD_MAX_WAITING_CONNECTIONS
} from '../shared/protocol/limits.ts'
import { stringProblem } from '../shared/protocol/string.ts'
import { closeFd } from '../shared/syscall/fd.ts'
import { ABORT_CONNECTIONS, SERVE_CONNECTION, STOP_CONNECTIONS } from './connection/serve-connection.ts'
import { ExportGate } from './export/export-gate.ts'
import { ADD_EXPORT } from './export/export-table.ts'
import { ConnectionState } from './transmission/connection-state.ts'
import { NBDListener, type Accepted, type ListenAddress } from './listener/nbd-listener.ts'

/** IOThreads when none were asked for: more than this bring one server little. */
const MAX_DEFAULT_IOTHREADS = 4

export interface NBDServerOptions {
  /** Threads that serve; at least 1. Absent: one per processor, up to 4. */
  iothreads?: number | undefined
  /** Connections at a time; further ones wait for their turn. 0 or absent: any number. */
  maxConnections?: number | undefined
  handshakeTimeoutMs?: number | undefined
}

export interface ExportOptions {
  /** At most 4096 bytes of UTF-8; empty for the default export. */
  name?: string | undefined
  description?: string | undefined
}

/** A place where connections are served. */
interface Place {
  readonly thread: IOThread
  connections: number
}

export class NBDServer {
  readonly #places: Place[]
  readonly #maxConnections: number
  readonly #handshakeTimeoutMs: number
  readonly #listeners: NBDListener[] = []
  readonly #nodes: BlockNode[] = []
  /** Accepted, and not yet given to a thread. */
  readonly #waiting: Accepted[] = []
  readonly #serving = new Set<Promise<void>>()
  #closing = false
  #nextConnection = 1
  /** Some client has chosen an export. */
  #wasUsed = false

  /** Called when no client is left, and one had chosen an export. */
  onLastClient: (() => void) | undefined
  /** Called when an IOThread died of a fault of its own, and its connections with it; `left` others serve on. */
  onFault: ((error: Error, left: number) => void) | undefined

  private constructor(threads: IOThread[], options: NBDServerOptions) {
    this.#places = threads.map((thread) => ({ thread, connections: 0 }))
    this.#maxConnections = options.maxConnections || Infinity
    this.#handshakeTimeoutMs = options.handshakeTimeoutMs ?? NBD_HANDSHAKE_TIMEOUT_MS
    for (const place of this.#places) place.thread.onFault((error) => this.#lost(place, error))
  }

  /** Starts the threads; nothing is served and nobody listens yet. */
  static async start(options: NBDServerOptions = {}): Promise<NBDServer> {
    const count = options.iothreads ?? Math.min(availableParallelism(), MAX_DEFAULT_IOTHREADS)
    const threads = await Promise.all(Array.from({ length: count }, (_, i) => IOThread.start(`io${i}`)))
    return new NBDServer(threads, options)
  }

  /**
   * Serves a node.
   *
   * @param node the server's from now on: it closes it
   * @throws NBDError of kind `config`
   */
  async addExport(node: BlockNode, { name = '', description = '' }: ExportOptions = {}): Promise<void> {
    for (const [what, text] of Object.entries({ 'export name': name, description })) {
      const problem = stringProblem(text)
      if (problem !== undefined) throw configError(`the ${what} ${problem}`)
    }
    this.#nodes.push(node)
    const shared = this.#maxConnections > 1
    const exported = { name, description, shared, node: node.handle(), gate: ExportGate.allocate() }
    await Promise.all(this.#places.map(({ thread }) => thread.run(ADD_EXPORT, exported)))
  }

  /**
   * Accepts clients at an address.
   *
   * @returns the listener, whose port is known
   * @throws NBDError of kind `config`
   */
  async listen(address: ListenAddress): Promise<NBDListener> {
    const listener = await NBDListener.listen(address, (client) => this.#accept(client))
    this.#listeners.push(listener)
    return listener
  }

  /**
   * Ends: no more clients; what is in flight is answered, for `timeoutMs` at the most; nodes are flushed and closed.
   *
   * @throws NBDError of kind `request` when the last flush failed
   */
  async close(timeoutMs: number): Promise<void> {
    this.#closing = true
    await Promise.all(this.#listeners.map((listener) => listener.close()))
    for (const { fd } of this.#waiting.splice(0)) closeFd(fd)
    await this.#tellAll(STOP_CONNECTIONS)
    const timer = setTimeout(() => {
      log.warn(`connections did not end within ${timeoutMs} ms: aborting them`)
      void this.#tellAll(ABORT_CONNECTIONS)
    }, timeoutMs)
    await Promise.all(this.#serving)
    clearTimeout(timer)
    try {
      for (const node of this.#nodes) {
        await node.flush().catch((error: unknown) => {
          throw new NBDError('request', `the last flush failed, and data may be lost: ${reason(error)}`, {
            cause: error
          })
        })
      }
    } finally {
      await Promise.all(this.#places.map(({ thread }) => thread.stop()))
      for (const node of this.#nodes) await node.close()
    }
  }

  async #tellAll(entry: typeof STOP_CONNECTIONS): Promise<void> {
    // A thread that died has no connections to be told.
    await Promise.allSettled(this.#places.map(({ thread }) => thread.run(entry, undefined)))
  }

  #accept(client: Accepted): void {
    if (this.#serving.size < this.#maxConnections && !this.#closing) {
      this.#serve(client)
    } else if (this.#waiting.length < NBD_MAX_WAITING_CONNECTIONS && !this.#closing) {
      this.#waiting.push(client)
    } else {
      log.warn({ peer: client.peer }, 'too many clients wait for a place: refusing one')
      closeFd(client.fd)
    }
  }

  #serve({ fd, peer }: Accepted): void {
    if (this.#places.length === 0) {
      closeFd(fd)
      return
    }
    const place = this.#places.reduce((least, other) =>
      other.connections < least.connections ? other : least
    )
    place.connections++
    const served = place.thread
      .run(SERVE_CONNECTION, {
        id: this.#nextConnection++,
        fd,
        peer,
        onHelpWanted: undefined,
        handshakeTimeoutMs: this.#handshakeTimeoutMs,
        state: ConnectionState.allocate(NBD_MAX_IN_FLIGHT_BYTES)
      })
      .catch((error: unknown) => {
        log.error({ err: error, peer }, 'a connection was lost')
        return { negotiated: false }
      })
      .then(({ negotiated }) => {
        place.connections--
        this.#serving.delete(served)
        this.#ended(negotiated)
      })
    this.#serving.add(served)
  }

  #lost(place: Place, error: Error): void {
    log.error({ err: error, iothread: place.thread.id }, 'an IOThread died')
    this.#places.splice(this.#places.indexOf(place), 1)
    this.onFault?.(error, this.#places.length)
  }

  #ended(negotiated: boolean): void {
    if (negotiated) this.#wasUsed = true
    const next = this.#waiting.shift()
    if (next) this.#serve(next)
    else if (this.#wasUsed && this.#serving.size === 0 && !this.#closing) this.onLastClient?.()
  }
}
