/**
 * A thread with an event loop of its own, as an object of the main thread.
 *
 * @see iothread.c in QEMU
 */
import { Worker, type TransferListItem } from 'node:worker_threads'
import { releaseContextsOfThread } from '../aio/context-table.ts'
import type { EntryPoint, RanMessage, RunMessage } from '../aio/entry-point.ts'
import { ANSWER, END_THREAD, keepsThreadEnds } from '../aio/thread-end.ts'
import { workerExecArgv } from '../aio/worker-exec-argv.ts'
import { bugError, NBDError } from '../errors/nbd-error.ts'
import { unmarshalError } from '../errors/marshal.ts'
import { logLevel } from '../log/log.ts'
import { APPLY_PROPERTIES } from './current-properties.ts'
import { changedProperties, IOTHREAD_DEFAULTS, type IOThreadProperties } from './io-thread-properties.ts'
import type { IOThreadData } from './messages.ts'

/** A thread that does not answer for so long is ended by force. */
const ANSWER_MS = 3000

interface Run {
  resolve(result: unknown): void
  reject(error: Error): void
}

/** What can be told of an IOThread. @see IOThreadInfo in QEMU's qapi/misc.json */
export interface IOThreadInfo extends IOThreadProperties {
  id: string
  /** The kernel's id. */
  'thread-id': number
}

export class IOThread {
  readonly id: string
  #properties: IOThreadProperties
  #threadId = -1
  readonly #faultListeners = new Set<(error: Error) => void>()
  readonly #worker: Worker
  readonly #runs = new Map<number, Run>()
  #nextRun = 0
  #fault: Error | undefined
  #stopping = false

  private constructor(id: string, properties: IOThreadProperties) {
    this.id = id
    this.#properties = properties
    const workerData: IOThreadData = { id, logLevel: logLevel(), keepsEnds: keepsThreadEnds() }
    const execArgv = workerExecArgv()
    this.#worker = new Worker(new URL('./worker.js', import.meta.url), {
      workerData,
      name: id,
      ...(execArgv && { execArgv })
    })
    this.#worker.on('message', (message: RanMessage) => this.#ran(message))
    this.#worker.on('error', (error: Error) => this.#died(error))
    // It is -1 when the thread has ended.
    const { threadId } = this.#worker
    this.#worker.on('exit', () => {
      releaseContextsOfThread(threadId)
      this.#died(bugError(`IOThread ${id} has ended`))
    })
  }

  /**
   * Starts a thread; resolves when its loop runs.
   *
   * @context main
   * @param properties those that are not to have their defaults
   * @throws NBDError of kind `config` when a property cannot be
   */
  static async start(id: string, properties: Partial<IOThreadProperties> = {}): Promise<IOThread> {
    const thread = new IOThread(id, changedProperties(IOTHREAD_DEFAULTS, properties, `IOThread ${id}`))
    try {
      thread.#threadId = await thread.run(APPLY_PROPERTIES, thread.#properties)
    } catch (error) {
      await thread.stop()
      throw error
    }
    return thread
  }

  get properties(): Readonly<IOThreadProperties> {
    return this.#properties
  }

  /**
   * Changes properties; resolves when they have taken effect in the thread.
   *
   * @context main
   * @throws NBDError of kind `config` when one cannot be, and then none is changed; of kind `bug` when the thread died
   */
  async set(changes: Partial<IOThreadProperties>): Promise<void> {
    this.#properties = changedProperties(this.#properties, changes, `IOThread ${this.id}`)
    await this.run(APPLY_PROPERTIES, this.#properties)
  }

  /** @see qmp_query_iothreads */
  info(): IOThreadInfo {
    return { id: this.id, 'thread-id': this.#threadId, ...this.#properties }
  }

  /** Why the thread runs no more; undefined while it does. */
  get fault(): Error | undefined {
    return this.#fault
  }

  /**
   * Calls `listener` once if the thread dies of a fault of its own.
   *
   * @returns takes that back
   */
  onFault(listener: (error: Error) => void): () => void {
    this.#faultListeners.add(listener)
    return () => this.#faultListeners.delete(listener)
  }

  /**
   * Runs a named function in the thread.
   *
   * @context main
   * @param argument is copied, as by postMessage, but for what is in `transfer`
   * @returns its result; rejects with its error, class, errno and stack kept, when the thread dies, or when argument or
   * result cannot be posted
   */
  run<A, R>(entry: EntryPoint<A, R>, argument: A, transfer: TransferListItem[] = []): Promise<R> {
    if (this.#fault) return Promise.reject(this.#fault)
    return new Promise<R>((resolve, reject) => {
      const id = this.#nextRun++
      this.#runs.set(id, { resolve: (result) => resolve(result as R), reject })
      const message: RunMessage = { id, module: entry.module, name: entry.name, argument }
      try {
        this.#worker.postMessage(message, transfer)
      } catch (error) {
        this.#runs.delete(id)
        throw error
      }
    })
  }

  /** Ends the thread, whatever it does. What the kernel does with its memory is waited for, as `atThreadEnd` has it. */
  async stop(): Promise<void> {
    this.#stopping = true
    if (!this.#fault && (await this.#answers())) await this.run(END_THREAD, undefined).catch(() => undefined)
    await this.#worker.terminate()
  }

  /** Whether it has not lost itself in what it does. */
  async #answers(): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined
    const silence = new Promise<false>((resolve) => (timer = setTimeout(() => resolve(false), ANSWER_MS)))
    const answer = this.run(ANSWER, undefined).then(
      () => true,
      () => false
    )
    return Promise.race([answer, silence]).finally(() => clearTimeout(timer))
  }

  #ran({ id, result, error }: RanMessage): void {
    const run = this.#runs.get(id)
    this.#runs.delete(id)
    if (error) run?.reject(unmarshalError(error))
    else run?.resolve(result)
  }

  #died(error: Error): void {
    if (this.#fault) return
    this.#fault = new NBDError('bug', `IOThread ${this.id} died: ${error.message}`, { cause: error })
    for (const run of this.#runs.values()) run.reject(this.#fault)
    this.#runs.clear()
    if (this.#stopping) return
    for (const listener of this.#faultListeners) listener(error)
  }
}
