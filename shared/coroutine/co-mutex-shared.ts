/**
 * A CoMutex between coroutines of any threads: first come, first served, and each waiter goes on in its own context.
 *
 * It lies in two words of shared memory, as a ticket lock: QEMU's hand-off needs a list of waiters of all threads, which
 * JavaScript cannot have.
 *
 * @see CoMutex in util/qemu-coroutine-lock.c
 */
import { bugError } from '../errors/nbd-error.ts'
import { coAwait } from './aio-co.ts'
import type { CoLockable } from './co-mutex.ts'
import { Coroutine, type CoroutineFn } from './coroutine.ts'

// The ticket that is served, and the next one to draw.
const HEAD = 0
const TAIL = 1
export const CO_MUTEX_WORDS = 2

/** Looks at the lock before waiting: whoever holds it in another thread is often done sooner than we would be asleep. */
const SPINS = 1000

export class CoMutexShared implements CoLockable {
  readonly #words: Int32Array
  readonly #at: number
  /** The coroutine of this thread that holds it. */
  #holder: Coroutine<unknown> | undefined

  /**
   * @param words of shared memory; all threads that share the lock pass the same ones, 0 at first
   * @param at of its CO_MUTEX_WORDS words among them
   */
  constructor(words: Int32Array, at: number) {
    this.#words = words
    this.#at = at
  }

  /** Not recursive. @see qemu_co_mutex_lock */
  *lock(): CoroutineFn {
    const co = Coroutine.current
    if (!co) throw bugError('CoMutexShared.lock outside a coroutine')
    if (this.#holder === co) throw bugError('a coroutine locks a CoMutex that it holds')
    const ticket = Atomics.add(this.#words, this.#at + TAIL, 1)
    if (Atomics.load(this.#words, this.#at + HEAD) !== ticket) yield* this.#wait(ticket)
    this.#holder = co
  }

  /** @throws NBDError of kind `bug` when the current coroutine does not hold it @see qemu_co_mutex_unlock */
  unlock(): void {
    if (!this.#holder || this.#holder !== Coroutine.current) {
      throw bugError('a CoMutex is unlocked by a coroutine that does not hold it')
    }
    this.#holder = undefined
    Atomics.add(this.#words, this.#at + HEAD, 1)
    // All of them: only the one whose ticket it is goes on.
    Atomics.notify(this.#words, this.#at + HEAD)
  }

  *#wait(ticket: number): CoroutineFn {
    const index = this.#at + HEAD
    // A holder of this thread cannot get on while we look.
    for (let i = 0; i < SPINS && !this.#holder; i++) {
      if (Atomics.load(this.#words, index) === ticket) return
    }
    const { ctx } = Coroutine.current!
    ctx.ref()
    try {
      for (;;) {
        const head = Atomics.load(this.#words, index)
        if (head === ticket) return
        const wait = Atomics.waitAsync(this.#words, index, head)
        if (wait.async) yield* coAwait(wait.value)
      }
    } finally {
      ctx.unref()
    }
  }
}
