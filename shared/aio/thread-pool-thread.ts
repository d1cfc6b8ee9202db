/** A thread of a thread pool, as the pool's own thread sees it. */
import { Worker } from 'node:worker_threads'
import { unmarshalError } from '../errors/marshal.ts'
import { bugError, NBDError } from '../errors/nbd-error.ts'
import { logLevel } from '../log/log.ts'
import { releaseContextsOfThread } from './context-table.ts'
import type { RanMessage } from './entry-point.ts'
import type { Job, JobOutcome } from './thread-pool-element.ts'
import type { ThreadPoolWorkerData } from './thread-pool-worker.ts'
import { workerExecArgv } from './worker-exec-argv.ts'

export interface PoolThreadEvents {
  /** It has started, or its job has ended. */
  free(thread: PoolThread): void
  /** It has ended without having been told to; its job, if there was one, is still its own. */
  died(thread: PoolThread, error: Error): void
}

export class PoolThread {
  /** When it ran out of work; a time of `performance.now()`. */
  idleSince = 0
  readonly #worker: Worker
  #job: Job | undefined
  #fault: Error | undefined
  #ending = false

  /** @throws when there can be no thread */
  constructor(events: PoolThreadEvents) {
    const workerData: ThreadPoolWorkerData = { logLevel: logLevel() }
    const execArgv = workerExecArgv()
    this.#worker = new Worker(new URL('./thread-pool-worker.js', import.meta.url), {
      workerData,
      name: 'thread-pool',
      ...(execArgv && { execArgv })
    })
    const ended = (outcome: JobOutcome): void => {
      this.takeJob()?.end(outcome)
      events.free(this)
    }
    this.#worker.once('online', () => events.free(this))
    this.#worker.on('message', ({ result, error }: RanMessage) =>
      ended(error ? { error: unmarshalError(error) } : { result })
    )
    this.#worker.on('messageerror', (error) =>
      ended({ error: bugError(`the result of ${this.#job?.name} cannot be received: ${error.message}`) })
    )
    this.#worker.on('error', (error: Error) => (this.#fault ??= error))
    // It is -1 when the thread has ended.
    const { threadId } = this.#worker
    this.#worker.on('exit', (status) => {
      releaseContextsOfThread(threadId)
      if (!this.#ending) events.died(this, this.#fault ?? bugError(`it ended with status ${status}`))
    })
    // The pool keeps the loop alive while there are jobs; a thread that waits for one need not. To be said after there is
    // a listener for messages, which refers to the worker again.
    this.#worker.unref()
  }

  /** @throws when the argument cannot be posted; the thread has no job then */
  run(job: Job): void {
    job.start((message, transfer) => this.#worker.postMessage(message, transfer))
    this.#job = job
  }

  /** What it works on; the thread has no job any more then. */
  takeJob(): Job | undefined {
    const job = this.#job
    this.#job = undefined
    return job
  }

  /** Ends it at once, whatever it does; resolves when it is gone. */
  async end(): Promise<void> {
    this.#ending = true
    await this.#worker.terminate()
  }
}

/** A thread died, and a job with it. */
export const threadDied = (error: Error): NBDError =>
  new NBDError('bug', `a thread of the thread pool died: ${error.message}`, { cause: error })
