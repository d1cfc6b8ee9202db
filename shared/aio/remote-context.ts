/** What a thread can do with another thread's AioContext. */
import { contextBase, LOCK, notify, words, type AioContextHandle } from './context-table.ts'
import { RFifoLock } from './rfifolock.ts'

export class RemoteContext {
  readonly #handle: AioContextHandle
  readonly #lock: RFifoLock

  constructor(handle: AioContextHandle) {
    this.#handle = handle
    this.#lock = new RFifoLock(words, contextBase(handle) + LOCK, () => this.notify())
  }

  /** Lets the loop look at what there is. @see aio_notify */
  notify(): void {
    notify(this.#handle)
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
