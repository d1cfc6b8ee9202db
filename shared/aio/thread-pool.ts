/**
 * Threads that do what would hold up an event loop: work that computes or blocks.
 *
 * A job is a named function, which runs in a worker thread of the pool, because JavaScript needs a thread with
 * JavaScript in it. Reading and writing files is not for this pool: `fs.read` and its like wait in libuv's own pool of C
 * threads, at less than the cost of a job here.
 *
 * Jobs begin in the order of submission. Threads are started one at a time, when there is a job and none that is idle;
 * one that has been idle for 10 s ends when there are more than `min`. A job must have finished all that it began when
 * it returns: what it leaves behind may end at any time with its thread.
 *
 * The pool's state belongs to one thread, so it needs no lock. What is queued is not limited: whoever submits limits
 * himself.
 *
 * @see QEMU util/thread-pool.c
 */
import { constants } from 'node:os'
import type { TransferListItem } from 'node:worker_threads'
import { bugError, NBDError } from '../errors/nbd-error.ts'
import { log } from '../log/log.ts'
import { AioContext } from './aio-context.ts'
import { BottomHalf } from './bottom-half.ts'
import type { EntryPoint } from './entry-point.ts'
import { JobQueue } from './job-queue.ts'
import { Job, type ThreadPoolElement } from './thread-pool-element.ts'
import {
  checkThreadPoolParams,
  DEFAULT_THREAD_POOL_PARAMS,
  type ThreadPoolParams
} from './thread-pool-params.ts'
import { PoolThread, threadDied } from './thread-pool-thread.ts'

/** How long a thread that is not needed waits for work. */
const IDLE_MS = 10_000

export interface ThreadPoolOptions extends Partial<ThreadPoolParams> {
  /** How long a thread waits for work before it ends, in ms. */
  idleMs?: number
}

export class ThreadPool {
  readonly #ctx = AioContext.current()
  readonly #idleMs: number
  #params: Readonly<ThreadPoolParams>
  readonly #queue = new JobQueue()
  /** Jobs that are not settled: queued, active, or ended since the last round. */
  #pending = 0
  /** Ended, and settled in the next round. */
  #ended: Job[] = []
  readonly #completionBh = new BottomHalf(() => this.#settle())
  /** Those that count for `max`: starting, busy and idle. */
  readonly #threads = new Set<PoolThread>()
  #starting: PoolThread | undefined
  /** The longest idle first. */
  readonly #idle: PoolThread[] = []
  #idleTimer: NodeJS.Timeout | undefined
  /** Told to end, and not gone yet. */
  readonly #leaving = new Set<Promise<void>>()
  #closing: Promise<void> | undefined
  #drained: (() => void) | undefined

  /**
   * A pool of the calling thread; most want `threadPool()`.
   *
   * @throws NBDError of kind `config`
   * @see thread_pool_new
   */
  constructor({ idleMs = IDLE_MS, ...params }: ThreadPoolOptions = {}) {
    this.#params = { ...DEFAULT_THREAD_POOL_PARAMS, ...params }
    checkThreadPoolParams(this.#params)
    this.#idleMs = idleMs
    this.#grow()
  }

  get params(): Readonly<ThreadPoolParams> {
    return this.#params
  }

  /** Threads there are: starting, busy and idle. */
  get threads(): number {
    return this.#threads.size
  }

  get idleThreads(): number {
    return this.#idle.length
  }

  /** Jobs that wait for a thread. */
  get queued(): number {
    return this.#queue.size
  }

  get closed(): boolean {
    return this.#closing !== undefined
  }

  /**
   * Changes `min`, `max`, or both, while the pool works. Threads that are missing are started; idle ones that are too
   * many end at once, busy ones when their job has ended.
   *
   * @context home-thread
   * @throws NBDError of kind `config`; nothing has changed then
   * @see aio_context_set_thread_pool_params, thread_pool_update_params
   */
  setParams(params: Partial<ThreadPoolParams>): void {
    const changed = { ...this.#params, ...params }
    checkThreadPoolParams(changed)
    this.#params = changed
    while (this.#threads.size > changed.max && this.#idle.length > 0) this.#retire(this.#idle.shift()!)
    this.#dispatch()
  }

  /**
   * Has a function run by the next thread that is free.
   *
   * @context home-thread
   * @param argument is copied when a thread takes the job, as by postMessage, but for what is in `transfer`; until then
   * it must not change
   * @throws NBDError of kind `bug` when the pool is closed
   * @see thread_pool_submit_aio
   */
  submit<A, R>(
    entry: EntryPoint<A, R>,
    argument: A,
    transfer: TransferListItem[] = []
  ): ThreadPoolElement<R> {
    if (this.closed) throw bugError('a job is submitted to a thread pool that was closed')
    const { module, name } = entry
    const job = new Job<R>({ id: 0, module, name, argument }, transfer, (job) => this.#jobEnded(job))
    if (this.#pending++ === 0) this.#ctx.ref()
    this.#queue.push(job as Job)
    this.#dispatch()
    return job
  }

  /**
   * Cancels what is queued, waits for what runs, and ends all threads; resolves when none is left. May be called again.
   *
   * @context home-thread
   * @see thread_pool_free, which wants that there is no job
   */
  close(): Promise<void> {
    return (this.#closing ??= this.#close())
  }

  async #close(): Promise<void> {
    for (let job = this.#queue.first; job; job = this.#queue.first) job.cancel()
    if (this.#pending > 0) await new Promise<void>((resolve) => (this.#drained = resolve))
    clearTimeout(this.#idleTimer)
    for (const thread of this.#threads) this.#retire(thread)
    this.#idle.length = 0
    await Promise.all(this.#leaving)
    this.#completionBh.delete()
  }

  /** Gives jobs to threads, as long as there are both, and sees that there are as many threads as there should be. */
  #dispatch(): void {
    while (this.#queue.size > 0 && this.#idle.length > 0) {
      const job = this.#queue.shift()!
      // The one that was busy last, so that the others can end.
      const thread = this.#idle.pop()!
      try {
        thread.run(job)
      } catch (error) {
        this.#idle.push(thread)
        job.end({ error: error instanceof Error ? error : new Error(String(error)) })
      }
    }
    this.#grow()
    this.#armIdleTimer()
  }

  /** Starts a thread if one is missing and none is starting: when it has, it looks whether there should be another. */
  #grow(): void {
    while (!this.#starting && !this.closed && this.#needsThread()) {
      try {
        this.#starting = new PoolThread({
          free: (thread) => this.#threadFree(thread),
          died: (thread, error) => this.#threadDied(thread, error)
        })
        this.#threads.add(this.#starting)
      } catch (error) {
        if (!this.#startFailed(error as Error)) return
      }
    }
  }

  #needsThread(): boolean {
    const { min, max } = this.#params
    return this.#threads.size < min || (this.#queue.size > 0 && this.#threads.size < max)
  }

  /**
   * The jobs are left to the threads that there are. If there are none, the first job fails, so that each attempt costs
   * a job, and nothing waits for ever.
   *
   * @returns whether to try again
   */
  #startFailed(cause: Error): boolean {
    if (this.#threads.size > 0) return false
    const why = `a thread of the thread pool cannot be started: ${cause.message}`
    const errno = constants.errno.EAGAIN
    const job = this.#queue.shift()
    if (job) job.end({ error: new NBDError('request', why, { errno, cause }) })
    else log.error({ err: cause }, 'a thread of the thread pool cannot be started')
    return this.#queue.size > 0
  }

  #threadFree(thread: PoolThread): void {
    if (this.#starting === thread) this.#starting = undefined
    if (!this.#threads.has(thread)) return
    if (this.#threads.size > this.#params.max) {
      this.#retire(thread)
    } else {
      thread.idleSince = performance.now()
      this.#idle.push(thread)
    }
    this.#dispatch()
  }

  #threadDied(thread: PoolThread, error: Error): void {
    this.#threads.delete(thread)
    if (this.#starting === thread) {
      this.#starting = undefined
      if (!this.#startFailed(error)) return
    }
    const idle = this.#idle.indexOf(thread)
    if (idle >= 0) {
      this.#idle.splice(idle, 1)
      log.error({ err: error }, 'a thread of the thread pool died while it was idle')
    }
    thread.takeJob()?.end({ error: threadDied(error) })
    this.#dispatch()
  }

  /** Ends a thread that is not in `#idle` any more. */
  #retire(thread: PoolThread): void {
    this.#threads.delete(thread)
    const gone = thread.end()
    this.#leaving.add(gone)
    void gone.then(() => this.#leaving.delete(gone))
  }

  #armIdleTimer(): void {
    const [longest] = this.#idle
    if (this.#idleTimer || !longest || this.#threads.size <= this.#params.min) return
    const left = longest.idleSince + this.#idleMs - performance.now()
    this.#idleTimer = setTimeout(() => this.#idleTimeUp(), Math.max(left, 0)).unref()
  }

  #idleTimeUp(): void {
    this.#idleTimer = undefined
    const since = performance.now() - this.#idleMs
    while (
      this.#threads.size > this.#params.min &&
      this.#idle.length > 0 &&
      this.#idle[0]!.idleSince <= since
    ) {
      this.#retire(this.#idle.shift()!)
    }
    this.#armIdleTimer()
  }

  #jobEnded(job: Job): void {
    if (job.state === 'cancelled') this.#queue.remove(job)
    this.#ended.push(job)
    this.#completionBh.schedule()
  }

  /** @see thread_pool_completion_bh */
  #settle(): void {
    const ended = this.#ended
    this.#ended = []
    for (const job of ended) job.settle()
    this.#pending -= ended.length
    if (this.#pending > 0) return
    this.#ctx.unref()
    this.#drained?.()
  }
}

const pools = new WeakMap<AioContext, ThreadPool>()

/** The thread pool of the calling thread's context, made when it is first asked for. @see aio_get_thread_pool */
export function threadPool(): ThreadPool {
  const ctx = AioContext.current()
  let pool = pools.get(ctx)
  if (!pool || pool.closed) pools.set(ctx, (pool = new ThreadPool()))
  return pool
}
