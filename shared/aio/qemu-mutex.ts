/**
 * A lock between threads, held for a few instructions; whoever must wait blocks its thread.
 *
 * It guards what a single atomic operation cannot change. Coroutines that hold something for longer use a CoMutex. It is
 * lost when its holder's thread is ended by force.
 *
 * @see QemuMutex in QEMU's include/qemu/thread.h
 */

const FREE = 0
const HELD = 1
/** Held, and somebody sleeps. */
const CONTENDED = 2
export const QEMU_MUTEX_WORDS = 1

/** Looks at the lock before sleeping. */
const SPINS = 100

export class QemuMutex {
  readonly #words: Int32Array
  readonly #at: number

  /**
   * @param words of shared memory; all threads that share the lock pass the same ones, 0 at first
   * @param at of its QEMU_MUTEX_WORDS words among them
   */
  constructor(words: Int32Array, at: number) {
    this.#words = words
    this.#at = at
  }

  /** Not recursive, and in no particular order. @context a thread that may block @see qemu_mutex_lock */
  lock(): void {
    for (let i = 0; i < SPINS; i++) {
      if (Atomics.compareExchange(this.#words, this.#at, FREE, HELD) === FREE) return
    }
    while (Atomics.exchange(this.#words, this.#at, CONTENDED) !== FREE) {
      Atomics.wait(this.#words, this.#at, CONTENDED)
    }
  }

  /** @see qemu_mutex_unlock */
  unlock(): void {
    if (Atomics.exchange(this.#words, this.#at, FREE) === CONTENDED) Atomics.notify(this.#words, this.#at, 1)
  }
}
