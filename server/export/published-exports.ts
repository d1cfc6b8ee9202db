/**
 * All exports of a server, and all threads that serve one. Each thread is told of every export, so that any can
 * negotiate.
 *
 * @context main
 */
import type { EntryPoint } from '../../shared/aio/entry-point.ts'
import { configError, NBDError } from '../../shared/errors/nbd-error.ts'
import { reason } from '../../shared/errors/system-error.ts'
import type { IOThread } from '../../shared/iothread/io-thread.ts'
import { log } from '../../shared/log/log.ts'
import { ServingThread } from '../connection/serving-thread.ts'
import { SET_TLS_POLICY, type TLSPolicy } from '../negotiation/tls-policy.ts'
import { THREAD_COUNTERS, type ThreadCounters } from '../transmission/thread-counters.ts'
import { MAX_LANES } from './export-gate.ts'
import { ADD_EXPORT, FORGET_EXPORTS, LOSE_EXPORT } from './export-table.ts'
import type { ServedExport } from './served-export.ts'

interface KnownThread {
  readonly serving: ServingThread
  /** Takes the fault listener back. */
  readonly release: () => void
}

export class PublishedExports {
  readonly #server: number
  readonly #tls: TLSPolicy | undefined
  readonly #onFault: (error: Error) => void
  readonly #exports = new Map<string, ServedExport>()
  readonly #threads = new Map<IOThread, KnownThread>()
  #lanes = 0

  /**
   * @param server its number
   * @param onFault is called when a thread died of a fault of its own, and is one of `threads` no more
   */
  constructor(server: number, tls: TLSPolicy | undefined, onFault: (error: Error) => void) {
    this.#server = server
    this.#tls = tls
    this.#onFault = onFault
  }

  /** Those that are alive. */
  get threads(): ServingThread[] {
    return [...this.#threads.values()].map(({ serving }) => serving)
  }

  /** Those that are alive and serve an export; none when there is no such export. */
  threadsOf(name: string): Iterable<ServingThread> {
    return this.#exports.get(name)?.threads ?? []
  }

  all(): ServedExport[] {
    return [...this.#exports.values()]
  }

  /** @throws NBDError of kind `config` when there is none of this name */
  find(name: string): ServedExport {
    const exported = this.#exports.get(name)
    if (!exported) throw configError(`there is no export '${name}'`)
    return exported
  }

  /** @throws NBDError of kind `config` when there is one of this name already */
  checkNew(name: string): void {
    if (this.#exports.has(name)) throw configError(`there is an export '${name}' already`)
  }

  /** @throws NBDError of kind `config` when so many threads more would be too many */
  checkLanes(name: string, count: number): void {
    if (this.#lanes + count > MAX_LANES)
      throw configError(`export '${name}': a server has ${MAX_LANES} IOThreads at the most`)
  }

  /**
   * Lets every thread know of a new export, and every new thread of all exports; clients can choose it from then on.
   *
   * @param threads that serve it
   * @param own the threads are the server's, to stop
   * @throws NBDError of kind `bug` when all of them have died over it
   */
  async publish(exported: ServedExport, threads: IOThread[], own: boolean): Promise<void> {
    const told: Promise<void>[] = []
    for (const thread of threads) {
      let serving = this.#threads.get(thread)?.serving
      if (!serving) {
        serving = this.#begin(thread, own)
        // What is told first arrives first.
        if (this.#tls) told.push(serving.tell(SET_TLS_POLICY, { server: this.#server, policy: this.#tls }))
        for (const other of this.#exports.values()) told.push(this.#tell(serving, other))
      }
      exported.threads.add(serving)
    }
    this.#exports.set(exported.name, exported)
    for (const serving of this.threads) told.push(this.#tell(serving, exported))
    await Promise.all(told)
    if (exported.lost !== undefined) throw new NBDError('bug', exported.lost)
  }

  /** Has every thread do something. */
  async tellAll<A>(entry: EntryPoint<A, void>, argument: A): Promise<void> {
    // A thread that dies meanwhile has nothing to be told.
    await Promise.allSettled([...this.#threads.keys()].map((thread) => thread.run(entry, argument)))
  }

  /** What each thread has done so far, by all servers. */
  async threadCounters(): Promise<(ThreadCounters & { id: string })[]> {
    const asked = [...this.#threads.keys()].map(async (thread) => ({
      id: thread.id,
      ...(await thread.run(THREAD_COUNTERS, undefined))
    }))
    // A thread that dies meanwhile has nothing to tell any more.
    const told = await Promise.allSettled(asked)
    return told.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
  }

  /** Ends the server's own threads; the others forget it. The nodes stay open. */
  async close(): Promise<void> {
    for (const [thread, { serving, release }] of this.#threads) {
      release()
      if (serving.own) await thread.stop()
      else await thread.run(FORGET_EXPORTS, this.#server).catch(() => undefined)
    }
    this.#threads.clear()
    this.#exports.clear()
  }

  #begin(thread: IOThread, own: boolean): ServingThread {
    const serving = new ServingThread(thread, own, this.#lanes++)
    const release = thread.onFault((error) => this.#lost(serving, error))
    this.#threads.set(thread, { serving, release })
    return serving
  }

  /** Tells a thread of an export; one that dies is told in vain, which `#lost` sees to. */
  async #tell(serving: ServingThread, exported: ServedExport): Promise<void> {
    const server = this.#server
    const { name, lost, threads } = exported
    const { lane } = serving
    // A TLS connection cannot go to another thread when it has chosen its export.
    const servedHere = this.#tls !== undefined || threads.has(serving)
    const description = { ...exported.description, servedHere, lane }
    const told = [serving.tell(ADD_EXPORT, { server, description })]
    if (lost !== undefined) told.push(serving.tell(LOSE_EXPORT, { server, name, why: lost }))
    await Promise.all(told)
  }

  #lost(serving: ServingThread, error: Error): void {
    const { id } = serving
    log.error({ err: error, iothread: id }, `IOThread ${id} died: ${reason(error)}`)
    this.#threads.delete(serving.thread)
    for (const exported of this.#exports.values()) {
      if (!exported.lose(serving)) continue
      const { name } = exported
      const why = exported.lost!
      log.error({ export: name }, why)
      void this.tellAll(LOSE_EXPORT, { server: this.#server, name, why })
    }
    this.#onFault(error)
  }
}
