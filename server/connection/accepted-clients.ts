/**
 * The clients of a server, from accept to their end: each gets a thread, or waits until one has left.
 *
 * @context main
 */
import type { EntryPoint } from '../../shared/aio/entry-point.ts'
import { log } from '../../shared/log/log.ts'
import { NBD_MAX_WAITING_CONNECTIONS } from '../../shared/protocol/limits.ts'
import { ConnectionState, type ConnectionCounters } from '../transmission/connection-state.ts'
import { dropWire, notTaken, type ConnectionEnd, type ConnectionHandOver, type Wire } from './hand-over.ts'
import { HelpingThreads } from './helping-threads.ts'
import { SERVE_CONNECTION, SERVE_NEGOTIATED } from './serve-connection.ts'
import { leastLoaded, type ServingThread } from './serving-thread.ts'

/** Accepted, and not served yet. */
interface Client {
  /** Ours to drop. */
  wire: Wire
  peer: string
}

/** The threads that a client can be given to. */
export interface ThreadsForClients {
  readonly threads: ServingThread[]
  threadsOf(exportName: string): Iterable<ServingThread>
}

export interface AcceptedClientsOptions {
  /** Number of the server. */
  server: number
  /** At a time; further ones wait for their turn. May be Infinity. */
  maxConnections: number
  handshakeTimeoutMs: number
  /** Payload that one connection may have in flight. */
  maxInFlightBytes: number
  /** Is called when no client is left, and one had chosen an export. */
  onLastClient: () => void
}

/** What a connection has done so far. */
export type ClientCounters = ConnectionCounters & {
  id: number
  peer: string
  /** Threads that take part in it. */
  threads: number
}

/** One more than the id of the newest connection, of all servers: an IOThread may work for several. */
let nextConnection = 0

export class AcceptedClients {
  readonly #options: AcceptedClientsOptions
  readonly #threads: ThreadsForClients
  readonly #helping: HelpingThreads
  /** Accepted, and not yet given to a thread. */
  readonly #waiting: Client[] = []
  readonly #serving = new Set<Promise<void>>()
  #closing = false
  /** Some client has chosen an export. */
  #wasUsed = false

  constructor(options: AcceptedClientsOptions, threads: ThreadsForClients) {
    this.#options = options
    this.#threads = threads
    this.#helping = new HelpingThreads((name) => [...threads.threadsOf(name)].map(({ thread }) => thread))
  }

  /** @param client its descriptor is this object's to close */
  accept(client: Client): void {
    if (this.#serving.size < this.#options.maxConnections && !this.#closing) {
      this.#serve(client)
    } else if (this.#waiting.length < NBD_MAX_WAITING_CONNECTIONS && !this.#closing) {
      this.#waiting.push(client)
    } else {
      log.warn({ peer: client.peer }, 'too many clients wait for a place: refusing one')
      dropWire(client.wire)
    }
  }

  /** Takes nobody any more, and sends those away who wait. */
  refuse(): void {
    this.#closing = true
    this.#helping.refuse()
    for (const { wire } of this.#waiting.splice(0)) dropWire(wire)
  }

  /** Resolves when all have gone; `refuse` comes before. */
  async allGone(): Promise<void> {
    await Promise.all(this.#serving)
  }

  /** When all have gone. */
  close(): void {
    this.#helping.close()
  }

  /** Those that are being served. */
  get counters(): ClientCounters[] {
    return this.#helping.connections.map(({ id, peer, state }) => ({
      id,
      peer,
      threads: state.parts,
      ...state.counters
    }))
  }

  #serve(client: Client): void {
    const served = this.#connection(client)
      .catch((error: unknown) => {
        log.error({ err: error, peer: client.peer }, 'a connection was lost')
        return false
      })
      .then((negotiated) => {
        this.#serving.delete(served)
        this.#ended(negotiated)
      })
    this.#serving.add(served)
  }

  /** @returns whether the client got as far as an export */
  async #connection({ wire, peer }: Client): Promise<boolean> {
    const { threads } = this.#threads
    const first = leastLoaded(threads)
    if (!first) {
      dropWire(wire)
      return false
    }
    const { server, handshakeTimeoutMs, maxInFlightBytes } = this.#options
    const handOver = {
      id: nextConnection++,
      server,
      wire,
      taken: notTaken(),
      peer,
      state: ConnectionState.allocate(maxInFlightBytes),
      onHelpWanted: threads.length > 1 ? this.#helping.onHelpWanted : undefined
    }
    const { negotiated, moved } = await this.#run(first, SERVE_CONNECTION, {
      ...handOver,
      handshakeTimeoutMs
    })
    if (!moved) return negotiated
    const next = leastLoaded(this.#threads.threadsOf(moved.negotiated.exportName))
    if (!next || this.#closing) dropWire(moved.wire)
    else await this.#run(next, SERVE_NEGOTIATED, { ...handOver, ...moved, taken: notTaken() })
    return true
  }

  /** Has a thread serve a connection; resolves when it is done. */
  async #run<A extends ConnectionHandOver>(
    serving: ServingThread,
    entry: EntryPoint<A, ConnectionEnd>,
    handOver: A
  ): Promise<ConnectionEnd> {
    serving.connections++
    const { thread } = serving
    const { id, server, peer, state: memory } = handOver
    try {
      return await this.#helping.watch({ id, server, peer, memory, thread }, thread.run(entry, handOver))
    } catch (error) {
      // The thread died. A socket that it had taken was closed with it.
      const { wire, taken } = handOver
      if (typeof wire !== 'number' || Atomics.load(taken, 0) === 0) dropWire(wire)
      throw error
    } finally {
      serving.connections--
    }
  }

  #ended(negotiated: boolean): void {
    if (negotiated) this.#wasUsed = true
    const next = this.#waiting.shift()
    if (next) this.#serve(next)
    else if (this.#wasUsed && this.#serving.size === 0 && !this.#closing) this.#options.onLastClient()
  }
}
