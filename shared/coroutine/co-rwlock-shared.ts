/**
 * A lock between coroutines of any threads that many readers, or one writer, can hold; whoever comes while another
 * waits, waits behind it.
 *
 * @see CoRwlock in QEMU's util/qemu-coroutine-lock.c
 */
import { QEMU_MUTEX_WORDS, QemuMutex } from '../aio/qemu-mutex.ts'
import { bugError } from '../errors/nbd-error.ts'
import type { CoReadWriteLock } from './co-lock.ts'
import type { CoroutineFn, CoroutineHandle } from './coroutine.ts'
import { WAIT_LIST_WORDS, WaitList } from './wait-list.ts'
import { becomeWaiter, grant, untilGranted, waitsFor, WAITS_TO_READ, WAITS_TO_WRITE } from './waiter.ts'

const GUARD = 0
const OWNERS = GUARD + QEMU_MUTEX_WORDS
const WAITERS = OWNERS + 1
export const CO_RWLOCK_WORDS = WAITERS + WAIT_LIST_WORDS

const WRITER = -1

export class CoRwlockShared implements CoReadWriteLock {
  readonly #words: Int32Array
  /** Of the readers that hold it; WRITER for a writer. */
  readonly #owners: number
  readonly #guard: QemuMutex
  readonly #waiters: WaitList

  /**
   * @param words of shared memory; all threads that share the lock pass the same ones, 0 at first
   * @param at of its CO_RWLOCK_WORDS words among them
   */
  constructor(words: Int32Array, at: number) {
    this.#words = words
    this.#owners = at + OWNERS
    this.#guard = new QemuMutex(words, at + GUARD)
    this.#waiters = new WaitList(words, at + WAITERS)
  }

  /** @see qemu_co_rwlock_rdlock */
  *rdlock(): CoroutineFn {
    this.#guard.lock()
    const owners = this.#words[this.#owners]!
    if (owners >= 0 && this.#waiters.first === undefined) {
      this.#words[this.#owners] = owners + 1
      this.#guard.unlock()
      return
    }
    yield* this.#waitGuarded(WAITS_TO_READ)
  }

  /** @see qemu_co_rwlock_wrlock */
  *wrlock(): CoroutineFn {
    this.#guard.lock()
    if (this.#words[this.#owners] === 0) {
      this.#words[this.#owners] = WRITER
      this.#guard.unlock()
      return
    }
    yield* this.#waitGuarded(WAITS_TO_WRITE)
  }

  /** @see qemu_co_rwlock_upgrade */
  *upgrade(): CoroutineFn {
    this.#guard.lock()
    const owners = this.#words[this.#owners]!
    if (owners <= 0) {
      this.#guard.unlock()
      throw bugError('CoRwlock.upgrade by nobody who reads')
    }
    if (owners === 1 && this.#waiters.first === undefined) {
      this.#words[this.#owners] = WRITER
      this.#guard.unlock()
      return
    }
    this.#words[this.#owners] = owners - 1
    yield* this.#waitGuarded(WAITS_TO_WRITE)
  }

  /** @see qemu_co_rwlock_downgrade */
  downgrade(): void {
    this.#guard.lock()
    if (this.#words[this.#owners] !== WRITER) {
      this.#guard.unlock()
      throw bugError('CoRwlock.downgrade by nobody who writes')
    }
    this.#words[this.#owners] = 1
    this.#unguardAndGrant()
  }

  /** @see qemu_co_rwlock_unlock */
  unlock(): void {
    this.#guard.lock()
    const owners = this.#words[this.#owners]!
    if (owners === 0) {
      this.#guard.unlock()
      throw bugError('a CoRwlock is unlocked that nobody holds')
    }
    this.#words[this.#owners] = owners === WRITER ? 0 : owners - 1
    this.#unguardAndGrant()
  }

  /** Queues behind all that wait; the guard is held, and is given back. */
  *#waitGuarded(what: number): CoroutineFn {
    let self: CoroutineHandle
    try {
      self = becomeWaiter(what)
      this.#waiters.append(self)
    } catch (error) {
      this.#guard.unlock()
      throw error
    }
    this.#unguardAndGrant()
    yield* untilGranted(self)
  }

  /** Lets in whoever is first and may: one writer, or the readers up to the next writer. */
  #unguardAndGrant(): void {
    const granted: CoroutineHandle[] = []
    for (;;) {
      const { first } = this.#waiters
      if (first === undefined) break
      const reads = waitsFor(first) === WAITS_TO_READ
      const owners = this.#words[this.#owners]!
      if (reads ? owners === WRITER : owners !== 0) break
      this.#waiters.shift()
      this.#words[this.#owners] = reads ? owners + 1 : WRITER
      granted.push(first)
    }
    this.#guard.unlock()
    for (const waiter of granted) grant(waiter)
  }
}
