/**
 * A job of a thread pool, from submission to result.
 *
 * @see ThreadPoolElement in QEMU's util/thread-pool.c
 */
import { constants } from 'node:os'
import type { TransferListItem } from 'node:worker_threads'
import { systemError } from '../errors/system-error.ts'
import type { RunMessage } from './entry-point.ts'

/**
 * - `queued`: it waits for a thread
 * - `active`: a thread works on it
 * - `done`: it has ended, well or not
 * - `cancelled`: it was taken back before it began, and will never run
 */
export type ThreadPoolState = 'queued' | 'active' | 'done' | 'cancelled'

/** What whoever submits a job holds of it. Belongs to the submitting thread. */
export interface ThreadPoolElement<R> {
  readonly state: ThreadPoolState

  /**
   * What the function returned. Rejects with what it threw (class, kind, errno, code and stack kept), with errno
   * ECANCELED when it was cancelled, when its argument or its result cannot be posted, and when its thread dies. Whoever
   * does not want to know need not look at it: nothing becomes of a rejection then.
   *
   * Settles in a bottom half of the submitting thread.
   */
  readonly result: Promise<R>

  /**
   * Takes the job back if no thread has begun it; it never runs then. One that runs is not disturbed.
   *
   * @returns whether it was taken back
   * @see bdrv_aio_cancel_async
   */
  cancel(): boolean

  /**
   * Cancels the job, and waits until it will do nothing any more: for a queued one that is soon, for a running one it
   * is its end. Does not say how it ended; `state` and `result` do.
   *
   * QEMU's waits in a nested aio_poll, and returns when the callback was called. JavaScript cannot turn its loop from
   * within, so this is a promise, and other things happen before it resolves.
   *
   * @see bdrv_aio_cancel
   */
  cancelAndWait(): Promise<void>
}

/** How a job ended. */
export type JobOutcome = { result: unknown } | { error: Error }

/** The pool's side of it. */
export class Job<R = unknown> implements ThreadPoolElement<R> {
  state: ThreadPoolState = 'queued'
  readonly result: Promise<R>
  readonly name: string
  // The queue's.
  previous: Job | undefined
  next: Job | undefined
  #message: RunMessage | undefined
  #transfer: TransferListItem[]
  #outcome: JobOutcome | undefined
  #resolve!: (result: R) => void
  #reject!: (error: Error) => void
  readonly #ended: (job: Job) => void

  /** @param ended called once, when it has ended or was cancelled: then `settle` is due */
  constructor(message: RunMessage, transfer: TransferListItem[], ended: (job: Job) => void) {
    this.name = message.name
    this.#message = message
    this.#transfer = transfer
    this.#ended = ended
    this.result = new Promise<R>((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    this.result.catch(() => undefined)
  }

  /**
   * Gives it to a thread.
   *
   * @param post throws when the argument cannot be posted
   */
  start(post: (message: RunMessage, transfer: TransferListItem[]) => void): void {
    post(this.#message!, this.#transfer)
    this.state = 'active'
    this.#forget()
  }

  end(outcome: JobOutcome, state: 'done' | 'cancelled' = 'done'): void {
    this.state = state
    this.#outcome = outcome
    this.#forget()
    this.#ended(this as Job)
  }

  cancel(): boolean {
    if (this.state !== 'queued') return false
    this.end({ error: systemError(constants.errno.ECANCELED, this.name) }, 'cancelled')
    return true
  }

  async cancelAndWait(): Promise<void> {
    this.cancel()
    await this.result.catch(() => undefined)
  }

  settle(): void {
    const outcome = this.#outcome!
    if ('error' in outcome) this.#reject(outcome.error)
    else this.#resolve(outcome.result as R)
  }

  /** The argument may be large. */
  #forget(): void {
    this.#message = undefined
    this.#transfer = []
  }
}
