/** What a thread can do with another thread's AioContext. */
import { contextWords, LOCK, notify, type AioContextHandle } from './context-memory.ts'
import { RFifoLock } from './rfifolock.ts'

export class RemoteContext {
  readonly #words: Int32Array
  readonly #notifyFd: number
  readonly #lock: RFifoLock

  constructor({ memory, notifyFd }: AioContextHandle) {
    this.#words = contextWords(memory)
    this.#notifyFd = notifyFd
    this.#lock = new RFifoLock(this.#words, LOCK, () => this.notify())
  }

  /** Lets the loop look at what there is. @see aio_notify */
  notify(): void {
    notify(this.#words, this.#notifyFd)
  }

  /**
   * Stops the context's thread between two rounds, and resolves when it stands still; until `release` it runs nothing.
   * Those who ask are served in the order of asking. May be nested.
   *
   * @context any thread but the context's own
   * @see aio_context_acquire
   */
  acquire(): Promise<void> {
    return this.#lock.lockAsync()
  }

  /** As `acquire`, and the calling thread blocks until then. @context a thread that may block */
  acquireSync(): void {
    this.#lock.lock()
  }

  /** @see aio_context_release */
  release(): void {
    this.#lock.unlock()
  }
}
