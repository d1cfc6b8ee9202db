/**
 * Which writes are earlier than a flush: a server flushes what it has answered, whatever connection it came by; so a
 * flush waits for the answers.
 *
 * @context the thread that connected
 */

/** Writes that were called between two flushes. */
interface Epoch {
  count: number
  /** Called when the last one of a past epoch has ended. */
  ended: (() => void) | undefined
}

export class WriteBarrier {
  #epoch: Epoch = { count: 0, ended: undefined }
  /** Resolves when all epochs before the current one have ended; undefined when they have. */
  #past: Promise<unknown> | undefined

  /** Runs a write that later flushes are to cover. */
  async during<T>(write: () => Promise<T>): Promise<T> {
    const epoch = this.#epoch
    epoch.count++
    try {
      return await write()
    } finally {
      if (--epoch.count === 0) epoch.ended?.()
    }
  }

  /** Resolves when all writes that were called before have ended, well or not; undefined when they have. */
  passed(): Promise<unknown> | undefined {
    const epoch = this.#epoch
    if (epoch.count > 0) {
      const ended = new Promise<void>((resolve) => (epoch.ended = resolve))
      const past = Promise.all([this.#past, ended]).then(() => {
        if (this.#past === past) this.#past = undefined
      })
      this.#past = past
      this.#epoch = { count: 0, ended: undefined }
    }
    return this.#past
  }
}
