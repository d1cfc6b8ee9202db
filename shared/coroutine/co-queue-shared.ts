/**
 * A condition that coroutines of any threads wait for, in order.
 *
 * @see CoQueue in QEMU's util/qemu-coroutine-lock.c
 */
import { QEMU_MUTEX_WORDS, QemuMutex } from '../aio/qemu-mutex.ts'
import type { CoLockable, CoWaitQueue } from './co-lock.ts'
import type { CoroutineFn, CoroutineHandle } from './coroutine.ts'
import { WAIT_LIST_WORDS, WaitList } from './wait-list.ts'
import { becomeWaiter, grant, untilGranted, WAITS_FOR_TURN } from './waiter.ts'

export const CO_QUEUE_WORDS = QEMU_MUTEX_WORDS + WAIT_LIST_WORDS

export class CoQueueShared implements CoWaitQueue {
  readonly #guard: QemuMutex
  readonly #waiters: WaitList

  /**
   * @param words of shared memory; all threads that share the queue pass the same ones, 0 at first
   * @param at of its CO_QUEUE_WORDS words among them
   */
  constructor(words: Int32Array, at: number) {
    this.#guard = new QemuMutex(words, at)
    this.#waiters = new WaitList(words, at + QEMU_MUTEX_WORDS)
  }

  get empty(): boolean {
    return this.#waiters.first === undefined
  }

  /** @see qemu_co_queue_wait */
  *wait(lock?: CoLockable, front = false): CoroutineFn {
    const self = becomeWaiter(WAITS_FOR_TURN)
    this.#guard.lock()
    if (front) this.#waiters.prepend(self)
    else this.#waiters.append(self)
    this.#guard.unlock()
    lock?.unlock()
    yield* untilGranted(self)
    if (lock) yield* lock.lock()
  }

  /**
   * Waits while the condition holds, which is asked anew each time that somebody lets the coroutine go on.
   *
   * Whoever changes what the condition looks at does so first, and then looks whether the queue is empty: together with
   * the look here, behind joining the queue, no change is missed.
   */
  *waitWhile(condition: () => boolean): CoroutineFn {
    while (condition()) {
      const self = becomeWaiter(WAITS_FOR_TURN)
      this.#guard.lock()
      this.#waiters.append(self)
      this.#guard.unlock()
      if (!condition()) this.restartAll()
      yield* untilGranted(self)
    }
  }

  /** @see qemu_co_queue_next */
  next(): boolean {
    this.#guard.lock()
    const first = this.#waiters.shift()
    this.#guard.unlock()
    if (first !== undefined) grant(first)
    return first !== undefined
  }

  /** @see qemu_co_queue_restart_all */
  restartAll(): void {
    const waiting: CoroutineHandle[] = []
    this.#guard.lock()
    for (let first = this.#waiters.shift(); first !== undefined; first = this.#waiters.shift())
      waiting.push(first)
    this.#guard.unlock()
    for (const waiter of waiting) grant(waiter)
  }
}
