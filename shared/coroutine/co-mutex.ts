/**
 * A lock between coroutines of one thread: first come, first served, and handed over to the longest waiter.
 *
 * @see CoMutex in util/qemu-coroutine-lock.c
 */
import { bugError } from '../errors/nbd-error.ts'
import type { CoLockable } from './co-lock.ts'
import { coDone, Coroutine, type CoroutineFn } from './coroutine.ts'

export class CoMutex implements CoLockable {
  #holder: Coroutine<unknown> | undefined
  #waiters: Coroutine<unknown>[] = []

  get locked(): boolean {
    return this.#holder !== undefined
  }

  /** Not recursive. @see qemu_co_mutex_lock */
  lock(): CoroutineFn {
    const co = Coroutine.current
    if (!co) throw bugError('CoMutex.lock outside a coroutine')
    if (this.#holder) return this.#lockSlow(co)
    this.#holder = co
    return coDone
  }

  /** @returns whether it was free and is the current coroutine's now */
  tryLock(): boolean {
    const co = Coroutine.current
    if (!co) throw bugError('CoMutex.tryLock outside a coroutine')
    if (this.#holder) return false
    this.#holder = co
    return true
  }

  /** @throws NBDError of kind `bug` when the current coroutine does not hold it @see qemu_co_mutex_unlock */
  unlock(): void {
    if (!this.#holder || this.#holder !== Coroutine.current) {
      throw bugError('a CoMutex is unlocked by a coroutine that does not hold it')
    }
    this.#holder = this.#waiters.shift()
    this.#holder?.wake()
  }

  *#lockSlow(co: Coroutine<unknown>): CoroutineFn {
    if (this.#holder === co) throw bugError('a coroutine locks a CoMutex that it holds')
    this.#waiters.push(co)
    while (this.#holder !== co) yield* Coroutine.yield()
  }
}
