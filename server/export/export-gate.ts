/**
 * The way into an export, for the requests of all threads: it can be closed, and then nothing is in flight any more.
 *
 * @see nbd_drained_begin, nbd_drained_poll, nbd_drained_end in QEMU's nbd/server.c
 */
import { aioWaitKick, aioWaitWhile } from '../../shared/aio/aio-wait.ts'
import { CO_QUEUE_WORDS, CoQueueShared } from '../../shared/coroutine/co-queue-shared.ts'
import type { CoroutineFn } from '../../shared/coroutine/coroutine.ts'

/** Threads that can go in: each counts those inside in a lane of its own, so that a dead one's can be struck out. */
export const MAX_LANES = 256

/** How often it was closed and not opened again. */
const CLOSED = 0
const QUEUE = 1
const LANES = QUEUE + CO_QUEUE_WORDS
const WORDS = LANES + MAX_LANES

export class ExportGate {
  readonly #words: Int32Array
  readonly #waiting: CoQueueShared
  /** Index of this thread's count. */
  readonly #inside: number

  /** @param lane the thread's, below MAX_LANES; absent in the main thread, which does not go in */
  constructor(memory: SharedArrayBuffer, lane = 0) {
    this.#words = new Int32Array(memory)
    this.#inside = LANES + lane
    this.#waiting = new CoQueueShared(this.#words, QUEUE)
  }

  /** @returns postable memory for one export */
  static allocate(): SharedArrayBuffer {
    return new SharedArrayBuffer(WORDS * Int32Array.BYTES_PER_ELEMENT)
  }

  /**
   * Goes in, if it is open: then `leave` must follow.
   *
   * @context any-thread
   */
  tryEnter(): boolean {
    // First in and then a look, against `close`, which closes first and then looks.
    Atomics.add(this.#words, this.#inside, 1)
    if (Atomics.load(this.#words, CLOSED) === 0) return true
    this.leave()
    return false
  }

  /** One more inside, by somebody who is inside already. @context any-thread */
  enterAgain(): void {
    Atomics.add(this.#words, this.#inside, 1)
  }

  /** @context any-thread */
  leave(): void {
    Atomics.sub(this.#words, this.#inside, 1)
    aioWaitKick()
  }

  /** Waits until it is open. */
  *untilOpen(): CoroutineFn {
    yield* this.#waiting.waitWhile(() => Atomics.load(this.#words, CLOSED) > 0)
  }

  /**
   * Lets nobody in any more, and resolves when nobody is inside; must be opened as often as it was closed.
   *
   * @context main
   * @see bdrv_drained_begin
   */
  async close(): Promise<void> {
    Atomics.add(this.#words, CLOSED, 1)
    await aioWaitWhile(() => this.#anybodyInside())
  }

  /** @context main @see bdrv_drained_end */
  open(): void {
    if (Atomics.sub(this.#words, CLOSED, 1) === 1) this.#waiting.restartAll()
  }

  /** A thread has died: whoever was inside is no more. @context main */
  strikeOut(lane: number): void {
    Atomics.store(this.#words, LANES + lane, 0)
    aioWaitKick()
  }

  #anybodyInside(): boolean {
    for (let lane = 0; lane < MAX_LANES; lane++) {
      if (Atomics.load(this.#words, LANES + lane) > 0) return true
    }
    return false
  }
}
