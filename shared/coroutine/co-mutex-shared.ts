/**
 * A CoMutex between coroutines of any threads: first come, first served, handed to the longest waiter, which goes on in
 * its own context.
 *
 * Who is locked out adds itself to a list that any thread can push to; only the holder takes from it, after turning it
 * round. When the holder finds nobody although somebody has announced itself, it leaves a mark (the hand-off): whoever
 * takes the mark away goes on in the holder's name, and wakes the first in the list.
 *
 * A thread must not be ended by force while one of its coroutines holds the lock or waits: nobody takes its place.
 *
 * @see CoMutex in QEMU's util/qemu-coroutine-lock.c, where the algorithm comes from
 */
import { contextOf, isIdle } from '../aio/context-table.ts'
import { bugError } from '../errors/nbd-error.ts'
import type { CoLockable } from './co-lock.ts'
import { coDone, Coroutine, type CoroutineFn, type CoroutineHandle } from './coroutine.ts'
import {
  becomeWaiter,
  grant,
  grantSelf,
  linkWaiter,
  nextWaiter,
  NOBODY,
  untilGranted,
  WAITS_FOR_TURN
} from './waiter.ts'

/** Holder and waiters, together. */
const LOCKED = 0
/** The last that has announced itself. */
const PUSHED = 1
/** The longest waiter, of those that a holder has put in order. */
const ORDERED = 2
/** The mark of a holder that has found nobody; 0 when there is none. */
const HANDOFF = 3
/** Of marks, so that no two are the same. */
const SEQUENCE = 4
/** The context that holds it. */
const HOLDER = 5
export const CO_MUTEX_WORDS = 6

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

  /** Who would get it next: nobody, or somebody who has nothing else to do, or who has. For the holder. */
  get waiter(): 'none' | 'idle' | 'busy' {
    if (this.#load(LOCKED) === 1) return 'none'
    if (this.#load(ORDERED) === NOBODY) Atomics.store(this.#words, this.#at + ORDERED, this.#order())
    const first = this.#load(ORDERED)
    return first !== NOBODY && isIdle(contextOf(first as CoroutineHandle)) ? 'idle' : 'busy'
  }

  /** Not recursive. @see qemu_co_mutex_lock */
  lock(): CoroutineFn {
    const co = Coroutine.current
    if (!co) throw bugError('CoMutexShared.lock outside a coroutine')
    if (this.#holder === co) throw bugError('a coroutine locks a CoMutex that it holds')
    if (!this.#lockFast(co.ctx.handle)) return this.#lockSlow(co)
    this.#hold(co)
    return coDone
  }

  tryLock(): boolean {
    const co = Coroutine.current
    if (!co) throw bugError('CoMutexShared.tryLock outside a coroutine')
    if (Atomics.compareExchange(this.#words, this.#at + LOCKED, 0, 1) !== 0) return false
    this.#hold(co)
    return true
  }

  /** @throws NBDError of kind `bug` when the current coroutine does not hold it @see qemu_co_mutex_unlock */
  unlock(): void {
    if (!this.#holder || this.#holder !== Coroutine.current) {
      throw bugError('a CoMutex is unlocked by a coroutine that does not hold it')
    }
    this.#holder = undefined
    Atomics.store(this.#words, this.#at + HOLDER, 0)
    if (Atomics.sub(this.#words, this.#at + LOCKED, 1) === 1) return
    for (;;) {
      const next = this.#pop()
      if (next !== undefined) {
        grant(next)
        return
      }
      // Somebody has counted itself among the waiters, and is not yet in the list: it, or we, will see the mark.
      const mark = (Atomics.add(this.#words, this.#at + SEQUENCE, 1) + 1) | 0 || 1
      Atomics.store(this.#words, this.#at + HANDOFF, mark)
      if (!this.#hasWaiters()) return
      if (!this.#takeMark(mark)) return
    }
  }

  #load(word: number): number {
    return Atomics.load(this.#words, this.#at + word)
  }

  #hold(co: Coroutine<unknown>): void {
    this.#holder = co
    Atomics.store(this.#words, this.#at + HOLDER, co.ctx.handle)
  }

  /** @returns whether it is ours; otherwise we are counted among those that wait, and must */
  #lockFast(context: number): boolean {
    const index = this.#at + LOCKED
    let before = Atomics.compareExchange(this.#words, index, 0, 1)
    // A holder of this thread cannot get on while we look; and behind a waiter it is not our turn.
    for (let i = 0; before === 1 && i < SPINS && this.#load(HOLDER) !== context; i++) {
      before = this.#load(LOCKED)
      if (before === 0) before = Atomics.compareExchange(this.#words, index, 0, 1)
      if (before === 0) return true
    }
    return before === 0 || Atomics.add(this.#words, index, 1) === 0
  }

  *#lockSlow(co: Coroutine<unknown>): CoroutineFn {
    yield* this.#wait()
    this.#hold(co)
  }

  *#wait(): CoroutineFn {
    const self = becomeWaiter(WAITS_FOR_TURN)
    this.#push(self)
    const mark = this.#load(HANDOFF)
    if (mark !== 0 && this.#hasWaiters() && this.#takeMark(mark)) {
      // In the name of the holder that left the mark: there is a first one, be it ourselves.
      const first = this.#pop()!
      if (first === self) {
        grantSelf(self)
        return
      }
      grant(first)
    }
    yield* untilGranted(self)
  }

  #takeMark(mark: number): boolean {
    return Atomics.compareExchange(this.#words, this.#at + HANDOFF, mark, 0) === mark
  }

  #hasWaiters(): boolean {
    return this.#load(ORDERED) !== NOBODY || this.#load(PUSHED) !== NOBODY
  }

  #push(waiter: CoroutineHandle): void {
    for (;;) {
      const head = this.#load(PUSHED)
      linkWaiter(waiter, head)
      if (Atomics.compareExchange(this.#words, this.#at + PUSHED, head, waiter) === head) return
    }
  }

  /** Takes the longest waiter out. Only the holder does so, or whoever acts in its name. */
  #pop(): CoroutineHandle | undefined {
    let first = this.#load(ORDERED)
    if (first === NOBODY) first = this.#order()
    if (first === NOBODY) return undefined
    Atomics.store(this.#words, this.#at + ORDERED, nextWaiter(first as CoroutineHandle))
    return first as CoroutineHandle
  }

  /** Turns round what was pushed. @returns the longest waiter */
  #order(): number {
    let waiter = Atomics.exchange(this.#words, this.#at + PUSHED, NOBODY)
    let first = NOBODY
    while (waiter !== NOBODY) {
      const next = nextWaiter(waiter as CoroutineHandle)
      linkWaiter(waiter as CoroutineHandle, first)
      first = waiter
      waiter = next
    }
    return first
  }
}
