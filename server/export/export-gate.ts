/**
 * The way into an export, for the requests of all threads: it can be closed, and then nothing is in flight any more.
 *
 * @see nbd_drained_begin, nbd_drained_poll, nbd_drained_end in QEMU's nbd/server.c
 */
import { aioWaitKick, aioWaitWhile } from '../../shared/aio/aio-wait.ts'
import { CO_QUEUE_WORDS, CoQueueShared } from '../../shared/coroutine/co-queue-shared.ts'
import type { CoroutineFn } from '../../shared/coroutine/coroutine.ts'

/** How often it was closed and not opened again. */
const CLOSED = 0
const INSIDE = 1
const QUEUE = 2
const WORDS = QUEUE + CO_QUEUE_WORDS

export class ExportGate {
  readonly #words: Int32Array
  readonly #waiting: CoQueueShared

  constructor(memory: SharedArrayBuffer) {
    this.#words = new Int32Array(memory)
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
    Atomics.add(this.#words, INSIDE, 1)
    if (Atomics.load(this.#words, CLOSED) === 0) return true
    this.leave()
    return false
  }

  /** One more inside, by somebody who is inside already. @context any-thread */
  enterAgain(): void {
    Atomics.add(this.#words, INSIDE, 1)
  }

  /** @context any-thread */
  leave(): void {
    Atomics.sub(this.#words, INSIDE, 1)
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
    await aioWaitWhile(() => Atomics.load(this.#words, INSIDE) > 0)
  }

  /** @context main @see bdrv_drained_end */
  open(): void {
    if (Atomics.sub(this.#words, CLOSED, 1) === 1) this.#waiting.restartAll()
  }
}
