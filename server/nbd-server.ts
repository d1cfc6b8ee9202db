/**
 * The server: listeners and exports, the IOThreads that serve them, and the connections between them.
 *
 * @context main
 */
import { availableParallelism } from 'node:os'
import type { BlockNode } from '../shared/block/block-node.ts'
import { configError, NBDError } from '../shared/errors/nbd-error.ts'
import { reason } from '../shared/errors/system-error.ts'
import type { QIOChannelPair } from '../shared/io/channel-pair.ts'
import { IOThread } from '../shared/iothread/io-thread.ts'
import { log } from '../shared/log/log.ts'
import { NBD_HANDSHAKE_TIMEOUT_MS, NBD_MAX_IN_FLIGHT_BYTES } from '../shared/protocol/limits.ts'
import { stringProblem } from '../shared/protocol/string.ts'
import { AcceptedClients, type ClientCounters } from './connection/accepted-clients.ts'
import { ABORT_CONNECTIONS, STOP_CONNECTIONS } from './connection/serve-connection.ts'
import { PublishedExports } from './export/published-exports.ts'
import { ServedExport } from './export/served-export.ts'
import { NBDListener, type ListenAddress, type ListeningSocket } from './listener/nbd-listener.ts'
import type { TLSPolicy } from './negotiation/tls-policy.ts'
import type { ThreadCounters } from './transmission/thread-counters.ts'

/** IOThreads when none were asked for: more than this bring one export little. */
const MAX_DEFAULT_IOTHREADS = 4

export interface NBDServerOptions {
  /** Threads that an export gets of its own when it is bound to none; at least 1. Absent: one per processor, up to 4. */
  iothreads?: number | undefined
  /** Connections at a time; further ones wait for their turn. 0 or absent: any number. */
  maxConnections?: number | undefined
  /** For a client to choose an export. 0: any time. Absent: 10 s. */
  handshakeTimeoutMs?: number | undefined
  /** Payload that one connection may have in flight, in requests and in replies not yet sent. Absent: 64 MiB. */
  maxInFlightBytes?: number | undefined
  /** Credentials, from `loadServerCreds` or `loadServerPsk`, and whether a client must use them. Absent: no TLS. */
  tls?: TLSPolicy | undefined
}

/** What a server has done so far. */
export interface ServerCounters {
  iothreads: (ThreadCounters & { id: string })[]
  connections: ClientCounters[]
}

export interface ExportOptions {
  /** At most 4096 bytes of UTF-8; empty for the default export. */
  name?: string | undefined
  description?: string | undefined
  /** Whether clients may write. Absent: when the node can be written to. */
  writable?: boolean | undefined
  /** Each write is answered when it is on stable storage, as if it had FUA. */
  writethrough?: boolean | undefined
  /** The threads that serve it, and perhaps other exports too: the caller's to stop, after the server is closed. */
  iothreads?: IOThread[] | undefined
  /** The node belongs to the caller, who closes it after the server. */
  keepNode?: boolean | undefined
}

let servers = 0

export class NBDServer {
  readonly #options: NBDServerOptions
  /** By which IOThreads tell the servers of a process apart. */
  readonly #number = servers++
  readonly #maxConnections: number
  readonly #listeners: NBDListener[] = []
  readonly #exports: PublishedExports
  readonly #clients: AcceptedClients
  #ownThreads = 0
  #closing = false

  /** Called when no client is left, and one had chosen an export. */
  onLastClient: (() => void) | undefined
  /** Called when an IOThread died of a fault of its own, and its connections with it; `left` others serve on. */
  onFault: ((error: Error, left: number) => void) | undefined

  private constructor(options: NBDServerOptions) {
    const { maxConnections, handshakeTimeoutMs, maxInFlightBytes, tls } = options
    this.#options = options
    this.#maxConnections = maxConnections || Infinity
    this.#exports = new PublishedExports(this.#number, tls, (error) =>
      this.onFault?.(error, this.#exports.threads.length)
    )
    const clientOptions = {
      server: this.#number,
      maxConnections: this.#maxConnections,
      handshakeTimeoutMs: handshakeTimeoutMs ?? NBD_HANDSHAKE_TIMEOUT_MS,
      maxInFlightBytes: maxInFlightBytes ?? NBD_MAX_IN_FLIGHT_BYTES,
      onLastClient: () => this.onLastClient?.()
    }
    this.#clients = new AcceptedClients(clientOptions, this.#exports)
  }

  /** A server that serves nothing yet, and listens nowhere. */
  static async start(options: NBDServerOptions = {}): Promise<NBDServer> {
    return new NBDServer(options)
  }

  /**
   * Serves a node.
   *
   * @param node the server's from now on, unless `keepNode` is set: it closes it
   * @throws NBDError of kind `config`, and the node stays the caller's
   */
  async addExport(node: BlockNode, options: ExportOptions = {}): Promise<void> {
    const { name = '', description = '', writethrough = false, iothreads, keepNode = false } = options
    for (const [what, text] of Object.entries({ 'export name': name, description })) {
      const problem = stringProblem(text)
      if (problem !== undefined) throw configError(`the ${what} ${problem}`)
    }
    const readOnly = !(options.writable ?? !node.readOnly)
    if (node.readOnly && !readOnly) throw configError(`export '${name}': the node is read-only`)
    if (iothreads?.length === 0) throw configError(`export '${name}': no IOThread is to serve it`)
    const dead = iothreads?.find(({ fault }) => fault !== undefined)
    if (dead) throw configError(`export '${name}': IOThread ${dead.id} does not run any more`)
    this.#checkNew(name)
    this.#exports.checkLanes(name, iothreads?.length ?? this.#ownCount())

    const threads = iothreads ?? (await this.#startThreads())
    try {
      this.#checkNew(name)
    } catch (error) {
      // Somebody else was faster.
      if (!iothreads) await Promise.all(threads.map((thread) => thread.stop()))
      throw error
    }
    const shared = this.#maxConnections > 1
    const served = { name, description, shared, readOnly, writethrough, keepNode }
    const exported = new ServedExport(node, served)
    await this.#exports.publish(exported, threads, iothreads === undefined)
  }

  /**
   * Accepts clients at an address, or from a socket that listens already.
   *
   * @param address a descriptor is the server's from now on
   * @returns the listener, whose port is known
   * @throws NBDError of kind `config`
   */
  async listen(address: ListenAddress | ListeningSocket): Promise<NBDListener> {
    const listener = await NBDListener.listen(address, ({ fd, peer }) =>
      this.#clients.accept({ wire: fd, peer })
    )
    this.#listeners.push(listener)
    return listener
  }

  /**
   * Serves a client of this process, at the other end of an in-memory pair, as if it had connected. TLS is not asked of it.
   *
   * @param end one of `QIOChannelPair.create()`; the server's from now on
   */
  serveChannel(end: QIOChannelPair): void {
    this.#clients.accept({ wire: end.detach(), peer: 'this process' })
  }

  /**
   * Ends: no more clients; what is in flight is answered, for `timeoutMs` at the most; nodes are flushed, and closed
   * unless their owner keeps them.
   *
   * @throws NBDError of kind `request` when the last flush failed
   */
  async close(timeoutMs: number): Promise<void> {
    this.#closing = true
    this.#clients.refuse()
    await Promise.all(this.#listeners.map((listener) => listener.close()))
    for (const exported of this.#exports.all()) exported.resumeAll()
    await this.#exports.tellAll(STOP_CONNECTIONS, this.#number)
    const timer = setTimeout(() => {
      log.warn(`connections did not end within ${timeoutMs} ms: aborting them`)
      void this.#exports.tellAll(ABORT_CONNECTIONS, this.#number)
    }, timeoutMs)
    await this.#clients.allGone()
    clearTimeout(timer)
    const exports = this.#exports.all()
    try {
      await flush(exports)
    } finally {
      await this.#exports.close()
      this.#clients.close()
      const own = exports.filter(({ keepNode }) => !keepNode)
      for (const node of new Set(own.map(({ node }) => node))) await node.close()
    }
  }

  /**
   * Lets no request of an export begin, and resolves when none is in flight, in whatever thread. Clients stay, and wait.
   * Must be followed by `resume` as often.
   *
   * @throws NBDError of kind `config` when there is no such export, or the server is closed
   * @see bdrv_drained_begin
   */
  async drain(name: string): Promise<void> {
    this.#checkOpen()
    await this.#exports.find(name).drain()
  }

  /** @throws NBDError of kind `config` when there is no such export, or it is not drained @see bdrv_drained_end */
  resume(name: string): void {
    this.#exports.find(name).resume()
  }

  /** What its threads and its present connections have done so far. */
  async counters(): Promise<ServerCounters> {
    return { iothreads: await this.#exports.threadCounters(), connections: this.#clients.counters }
  }

  #checkOpen(): void {
    if (this.#closing) throw configError('the server is closed')
  }

  #checkNew(name: string): void {
    this.#checkOpen()
    this.#exports.checkNew(name)
  }

  #ownCount(): number {
    return this.#options.iothreads ?? Math.min(availableParallelism(), MAX_DEFAULT_IOTHREADS)
  }

  /** Threads for an export that is bound to none. */
  async #startThreads(): Promise<IOThread[]> {
    const count = this.#ownCount()
    // No id that a user gives begins so.
    const ids = Array.from({ length: count }, () => `#io${this.#ownThreads++}`)
    const started = await Promise.allSettled(ids.map((id) => IOThread.start(id)))
    const threads = started.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
    for (const result of started) {
      if (result.status === 'fulfilled') continue
      await Promise.all(threads.map((thread) => thread.stop()))
      throw result.reason
    }
    return threads
  }
}

/** All of them, whichever fails. @throws NBDError of kind `request` for the first that did */
async function flush(exports: ServedExport[]): Promise<void> {
  const flushed = await Promise.allSettled(exports.map(({ node }) => node.flush()))
  for (const result of flushed) {
    if (result.status === 'fulfilled') continue
    const text = `the last flush failed, and data may be lost: ${reason(result.reason)}`
    throw new NBDError('request', text, { cause: result.reason })
  }
}
