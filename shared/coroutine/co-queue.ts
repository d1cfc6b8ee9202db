/**
 * A condition that coroutines of one thread wait for.
 *
 * @see CoQueue in util/qemu-coroutine-lock.c
 */
import { bugError } from '../errors/nbd-error.ts'
import type { CoLockable, CoWaitQueue } from './co-lock.ts'
import { Coroutine, type CoroutineFn } from './coroutine.ts'

export class CoQueue implements CoWaitQueue {
  #waiters: Coroutine<unknown>[] = []

  /** @see qemu_co_queue_empty */
  get empty(): boolean {
    return this.#waiters.length === 0
  }

  /**
   * Waits until somebody lets the coroutine go on. The lock is given back meanwhile, and held again afterwards.
   *
   * @param front before all that wait already
   * @see qemu_co_queue_wait
   */
  *wait(lock?: CoLockable, front = false): CoroutineFn {
    const co = Coroutine.current
    if (!co) throw bugError('CoQueue.wait outside a coroutine')
    if (front) this.#waiters.unshift(co)
    else this.#waiters.push(co)
    lock?.unlock()
    while (this.#waiters.includes(co)) yield* Coroutine.yield()
    if (lock) yield* lock.lock()
  }

  /** Lets the longest waiter go on. @returns whether there was one @see qemu_co_queue_next */
  next(): boolean {
    const co = this.#waiters.shift()
    co?.wake()
    return co !== undefined
  }

  /** Lets all go on that wait now, in their order. @see qemu_co_queue_restart_all */
  restartAll(): void {
    for (const co of this.#waiters.splice(0)) co.wake()
  }
}
