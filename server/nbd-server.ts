/**
 * The server: listeners and exports, the IOThreads that serve them, and the connections between them.
 *
 * @context main
 */
import { availableParallelism } from 'node:os'
import { configError, NBDError } from '../shared/errors/nbd-error.ts'
import { reason } from '../shared/errors/system-error.ts'
import type { BlockNode } from '../shared/block/block-node.ts'
import { IOThread } from '../shared/iothread/io-thread.ts'
import type { EntryPoint } from '../shared/aio/entry-point.ts'
import { log } from '../shared/log/log.ts'
import {
  NBD_HANDSHAKE_TIMEOUT_MS,
  NBD_MAX_IN_FLIGHT_BYTES,
  NBD_MAX_WAITING_CONNECTIONS
} from '../shared/protocol/limits.ts'
import { stringProblem } from '../shared/protocol/string.ts'
import { closeFd } from '../shared/syscall/fd.ts'
import { HelpingThreads } from './connection/helping-threads.ts'
import {
  ABORT_CONNECTIONS,
  notTaken,
  SERVE_CONNECTION,
  SERVE_NEGOTIATED,
  STOP_CONNECTIONS,
  type ConnectionEnd,
  type ConnectionHandOver
} from './connection/serve-connection.ts'
import { ExportGate, MAX_LANES } from './export/export-gate.ts'
import { ADD_EXPORT, FORGET_EXPORTS, LOSE_EXPORT } from './export/export-table.ts'
import type { ExportDescription } from './export/nbd-export.ts'
import { ConnectionState, type ConnectionCounters } from './transmission/connection-state.ts'
import { THREAD_COUNTERS, type ThreadCounters } from './transmission/thread-counters.ts'
import { SET_TLS_POLICY, type TLSPolicy } from './negotiation/tls-policy.ts'
import { NBDListener, type Accepted, type ListenAddress } from './listener/nbd-listener.ts'

/** IOThreads when none were asked for: more than this bring one export little. */
const MAX_DEFAULT_IOTHREADS = 4

export interface NBDServerOptions {
  /** Threads that an export gets of its own when it is bound to none; at least 1. Absent: one per processor, up to 4. */
  iothreads?: number | undefined
  /** Connections at a time; further ones wait for their turn. 0 or absent: any number. */
  maxConnections?: number | undefined
  handshakeTimeoutMs?: number | undefined
  /** Payload that one connection may have in flight, in requests and in replies not yet sent. Absent: 64 MiB. */
  maxInFlightBytes?: number | undefined
  /** Credentials, from `loadServerCreds`, and whether a client must use them. Absent: no TLS. */
  tls?: TLSPolicy | undefined
}

/** What a server has done so far. */
export interface ServerCounters {
  iothreads: (ThreadCounters & { id: string })[]
  connections: (ConnectionCounters & {
    id: number
    peer: string
    /** Threads that take part in it. */
    threads: number
  })[]
}

export interface ExportOptions {
  /** At most 4096 bytes of UTF-8; empty for the default export. */
  name?: string | undefined
  description?: string | undefined
  /** Whether clients may write. Absent: when the node can be written to. */
  writable?: boolean | undefined
  /** The threads that serve it, and perhaps other exports too: the caller's to stop, after the server is closed. */
  iothreads?: IOThread[] | undefined
  /** The node belongs to the caller, who closes it after the server. */
  keepNode?: boolean | undefined
}

/** A thread at work for the server. */
interface Place {
  readonly thread: IOThread
  /** The server's, to stop. */
  readonly own: boolean
  connections: number
  /** Its lane in the gates of exports. */
  readonly lane: number
  /** Takes the fault listener back. */
  readonly release: () => void
}

interface Exported {
  readonly description: Omit<ExportDescription, 'servedHere' | 'lane'>
  readonly node: BlockNode
  readonly keepNode: boolean
  /** Those whose thread has died are taken out. */
  readonly places: Set<Place>
  /** Why it is served no more. */
  lost?: string
  readonly gate: ExportGate
  /** How often it was drained and not resumed. */
  drains: number
}

let servers = 0
/** One more than the id of the newest connection, of all servers: an IOThread may work for several. */
let nextConnection = 0

export class NBDServer {
  /** By which IOThreads tell the servers of a process apart. */
  readonly #number = servers++
  readonly #options: NBDServerOptions
  readonly #maxConnections: number
  readonly #listeners: NBDListener[] = []
  readonly #exports = new Map<string, Exported>()
  /** Every thread that serves an export. Each knows all exports. */
  readonly #places = new Map<IOThread, Place>()
  #ownThreads = 0
  #lanes = 0
  /** Accepted, and not yet given to a thread. */
  readonly #waiting: Accepted[] = []
  readonly #serving = new Set<Promise<void>>()
  readonly #helping = new HelpingThreads((name) =>
    [...(this.#exports.get(name)?.places ?? [])].map(({ thread }) => thread)
  )
  #closing = false
  /** Some client has chosen an export. */
  #wasUsed = false

  /** Called when no client is left, and one had chosen an export. */
  onLastClient: (() => void) | undefined
  /** Called when an IOThread died of a fault of its own, and its connections with it; `left` others serve on. */
  onFault: ((error: Error, left: number) => void) | undefined

  private constructor(options: NBDServerOptions) {
    this.#options = options
    this.#maxConnections = options.maxConnections || Infinity
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
    const { name = '', description = '', iothreads, keepNode = false } = options
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
    if (this.#lanes + (iothreads?.length ?? this.#ownCount()) > MAX_LANES)
      throw configError(`export '${name}': a server has ${MAX_LANES} IOThreads at the most`)

    const threads = iothreads ?? (await this.#startThreads())
    try {
      this.#checkNew(name)
    } catch (error) {
      // Somebody else was faster.
      if (!iothreads) await Promise.all(threads.map((thread) => thread.stop()))
      throw error
    }
    const { length: size, limits } = node
    const shared = this.#maxConnections > 1
    const gate = ExportGate.allocate()
    const exported: Exported = {
      description: {
        name,
        description,
        shared,
        size,
        readOnly,
        limits,
        node: node.handle(),
        gate
      },
      node,
      keepNode,
      places: new Set(),
      gate: new ExportGate(gate),
      drains: 0
    }
    await this.#publish(exported, threads, iothreads === undefined)
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
   * Ends: no more clients; what is in flight is answered, for `timeoutMs` at the most; nodes are flushed, and closed
   * unless their owner keeps them.
   *
   * @throws NBDError of kind `request` when the last flush failed
   */
  async close(timeoutMs: number): Promise<void> {
    this.#closing = true
    await Promise.all(this.#listeners.map((listener) => listener.close()))
    for (const { fd } of this.#waiting.splice(0)) closeFd(fd)
    for (const exported of this.#exports.values()) {
      for (; exported.drains > 0; exported.drains--) exported.gate.open()
    }
    await this.#tellAll(STOP_CONNECTIONS, this.#number)
    const timer = setTimeout(() => {
      log.warn(`connections did not end within ${timeoutMs} ms: aborting them`)
      void this.#tellAll(ABORT_CONNECTIONS, this.#number)
    }, timeoutMs)
    await Promise.all(this.#serving)
    clearTimeout(timer)
    try {
      await this.#flushNodes()
    } finally {
      await this.#letThreadsGo()
      const own = [...this.#exports.values()].filter(({ keepNode }) => !keepNode)
      for (const node of new Set(own.map(({ node }) => node))) await node.close()
      this.#exports.clear()
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
    if (this.#closing) throw configError('the server is closed')
    const exported = this.#find(name)
    exported.drains++
    await exported.gate.close()
  }

  /** @see bdrv_drained_end */
  resume(name: string): void {
    const exported = this.#find(name)
    if (exported.drains === 0) throw configError(`export '${name}' is not drained`)
    exported.drains--
    exported.gate.open()
  }

  /** What its threads and its present connections have done so far. */
  async counters(): Promise<ServerCounters> {
    const threads = [...this.#places.keys()].map(async (thread) => {
      const counted = await thread.run(THREAD_COUNTERS, undefined)
      return { id: thread.id, ...counted }
    })
    // A thread that dies meanwhile has nothing to tell any more.
    const told = await Promise.allSettled(threads)
    return {
      iothreads: told.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : [])),
      connections: this.#helping.connections.map(({ id, peer, state }) => ({
        id,
        peer,
        threads: state.parts,
        ...state.counters
      }))
    }
  }

  #find(name: string): Exported {
    const exported = this.#exports.get(name)
    if (!exported) throw configError(`there is no export '${name}'`)
    return exported
  }

  #checkNew(name: string): void {
    if (this.#closing) throw configError('the server is closed')
    if (this.#exports.has(name)) throw configError(`there is an export '${name}' already`)
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

  /** Lets every thread know of a new export, and every new thread of all exports. */
  async #publish(exported: Exported, threads: IOThread[], own: boolean): Promise<void> {
    const told: Promise<void>[] = []
    for (const thread of threads) {
      let place = this.#places.get(thread)
      if (!place) {
        place = this.#newPlace(thread, own)
        // What is told first arrives first.
        told.push(this.#tellTls(place))
        for (const other of this.#exports.values()) told.push(this.#tell(place, other))
      }
      exported.places.add(place)
    }
    this.#exports.set(exported.description.name, exported)
    for (const place of this.#places.values()) told.push(this.#tell(place, exported))
    await Promise.all(told)
    if (exported.lost !== undefined) throw new NBDError('bug', exported.lost)
  }

  #newPlace(thread: IOThread, own: boolean): Place {
    const release = thread.onFault((error) => this.#lost(place, error))
    const lane = this.#lanes++
    const place: Place = { thread, own, lane, connections: 0, release }
    this.#places.set(thread, place)
    return place
  }

  /** Tells a thread of an export; one that dies is told in vain, which `#lost` sees to. */
  async #tell({ thread, lane }: Place, { description, places, lost }: Exported): Promise<void> {
    // A TLS connection cannot go to another thread when it has chosen its export.
    const servedHere = this.#options.tls !== undefined || [...places].some((place) => place.thread === thread)
    const { name } = description
    const server = this.#number
    const told = [thread.run(ADD_EXPORT, { server, description: { ...description, servedHere, lane } })]
    if (lost !== undefined) told.push(thread.run(LOSE_EXPORT, { server, name, why: lost }))
    await Promise.all(told).catch((error: unknown) => {
      if (thread.fault === undefined) throw error
    })
  }

  async #tellTls({ thread }: Place): Promise<void> {
    const { tls } = this.#options
    if (!tls) return
    await thread.run(SET_TLS_POLICY, { server: this.#number, policy: tls }).catch((error: unknown) => {
      if (thread.fault === undefined) throw error
    })
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

  #serve(client: Accepted): void {
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
  async #connection({ fd, peer }: Accepted): Promise<boolean> {
    const place = leastLoaded(this.#places.values())
    if (!place) {
      closeFd(fd)
      return false
    }
    const handshakeTimeoutMs = this.#options.handshakeTimeoutMs ?? NBD_HANDSHAKE_TIMEOUT_MS
    const handOver = {
      id: nextConnection++,
      server: this.#number,
      fd,
      taken: notTaken(),
      peer,
      state: ConnectionState.allocate(this.#options.maxInFlightBytes ?? NBD_MAX_IN_FLIGHT_BYTES),
      onHelpWanted: this.#places.size > 1 ? this.#helping.onHelpWanted : undefined
    }
    const { negotiated, moved } = await this.#run(place, SERVE_CONNECTION, {
      ...handOver,
      handshakeTimeoutMs
    })
    if (!moved) return negotiated
    const next = leastLoaded(this.#exports.get(moved.negotiated.exportName)!.places)
    if (!next || this.#closing) closeFd(moved.fd)
    else await this.#run(next, SERVE_NEGOTIATED, { ...handOver, ...moved, taken: notTaken() })
    return true
  }

  /** Has a thread serve a connection; resolves when it is done. */
  async #run<A extends ConnectionHandOver>(
    place: Place,
    entry: EntryPoint<A, ConnectionEnd>,
    handOver: A
  ): Promise<ConnectionEnd> {
    place.connections++
    const { id, server, peer, state: memory } = handOver
    const connection = { id, server, peer, memory, thread: place.thread }
    try {
      return await this.#helping.watch(connection, place.thread.run(entry, handOver))
    } catch (error) {
      // The thread died. What it had taken was closed with it.
      if (Atomics.load(handOver.taken, 0) === 0) closeFd(handOver.fd)
      throw error
    } finally {
      place.connections--
    }
  }

  #lost(place: Place, error: Error): void {
    const { id } = place.thread
    log.error({ err: error, iothread: id }, `IOThread ${id} died: ${reason(error)}`)
    this.#places.delete(place.thread)
    for (const exported of this.#exports.values()) {
      exported.gate.strikeOut(place.lane)
      if (!exported.places.delete(place) || exported.places.size > 0) continue
      const { name } = exported.description
      exported.lost = `export '${name}' is not served any more: IOThread ${id} died`
      log.error({ export: name }, exported.lost)
      void this.#tellAll(LOSE_EXPORT, { server: this.#number, name, why: exported.lost })
    }
    this.onFault?.(error, this.#places.size)
  }

  #ended(negotiated: boolean): void {
    if (negotiated) this.#wasUsed = true
    const next = this.#waiting.shift()
    if (next) this.#serve(next)
    else if (this.#wasUsed && this.#serving.size === 0 && !this.#closing) this.onLastClient?.()
  }

  async #tellAll<A>(entry: EntryPoint<A, void>, argument: A): Promise<void> {
    // A thread that dies meanwhile has nothing to be told.
    await Promise.allSettled([...this.#places.keys()].map((thread) => thread.run(entry, argument)))
  }

  /** All of them, whichever fails. @throws NBDError of kind `request` for the first that did */
  async #flushNodes(): Promise<void> {
    const flushed = await Promise.allSettled([...this.#exports.values()].map(({ node }) => node.flush()))
    for (const result of flushed) {
      if (result.status === 'fulfilled') continue
      const text = `the last flush failed, and data may be lost: ${reason(result.reason)}`
      throw new NBDError('request', text, { cause: result.reason })
    }
  }

  /** Ends the server's own threads; the others forget it. */
  async #letThreadsGo(): Promise<void> {
    for (const { thread, own, release } of this.#places.values()) {
      release()
      if (own) await thread.stop()
      else await thread.run(FORGET_EXPORTS, this.#number).catch(() => undefined)
    }
    this.#places.clear()
    this.#helping.close()
  }
}

function leastLoaded(places: Iterable<Place>): Place | undefined {
  let least: Place | undefined
  for (const place of places) if (!least || place.connections < least.connections) least = place
  return least
}
