/** What a thread can do with another thread's AioContext. */
import { bugError } from '../errors/nbd-error.ts'
import { contextBase, isLive, LOCK, notify, words, type AioContextHandle } from './context-table.ts'
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
   * @throws NBDError of kind `bug` when the context has ended, or ends before
   * @see aio_context_acquire
   */
  async acquire(): Promise<void> {
    this.#check()
    await this.#lock.lockAsync()
    this.#checkAgain()
  }

  /** As `acquire`, and the calling thread blocks until then. @context a thread that may block */
  acquireSync(): void {
    this.#check()
    this.#lock.lock()
    this.#checkAgain()
  }

  /** There is nothing to give back when the context has ended since. @see aio_context_release */
  release(): void {
    if (isLive(this.#handle)) this.#lock.unlock()
  }

  #check(): void {
    if (!isLive(this.#handle)) throw bugError('a context is acquired that has ended')
  }

  /** It may have ended just before we asked, and then the lock is that of nobody, or of a later context. */
  #checkAgain(): void {
    if (isLive(this.#handle)) return
    if (this.#lock.held) this.#lock.unlock()
    this.#check()
  }
}
