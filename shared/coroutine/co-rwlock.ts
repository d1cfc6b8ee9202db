/**
 * A lock between coroutines of one thread that many readers, or one writer, can hold; fair by tickets: whoever comes
 * while another waits, waits behind it.
 *
 * @see CoRwlock in util/qemu-coroutine-lock.c
 */
import { bugError } from '../errors/nbd-error.ts'
import type { CoReadWriteLock } from './co-lock.ts'
import { Coroutine, type CoroutineFn } from './coroutine.ts'

interface Ticket {
  co: Coroutine<unknown>
  read: boolean
}

export class CoRwlock implements CoReadWriteLock {
  /** Readers that hold it; -1 for a writer. */
  #owners = 0
  #tickets: Ticket[] = [];

  /** @see qemu_co_rwlock_rdlock */
  *rdlock(): CoroutineFn {
    if (this.#owners >= 0 && this.#tickets.length === 0) this.#owners++
    else yield* this.#queue(true)
  }

  /** @see qemu_co_rwlock_wrlock */
  *wrlock(): CoroutineFn {
    if (this.#owners === 0) this.#owners = -1
    else yield* this.#queue(false)
  }

  /** A reader becomes a writer, behind all that wait already; another writer may come before it. @see qemu_co_rwlock_upgrade */
  *upgrade(): CoroutineFn {
    if (this.#owners <= 0) throw bugError('CoRwlock.upgrade by nobody who reads')
    if (this.#owners === 1 && this.#tickets.length === 0) {
      this.#owners = -1
      return
    }
    this.#owners--
    const granted = this.#queue(false)
    this.#grant()
    yield* granted
  }

  /** A writer becomes a reader, without waiting, and the readers behind it come in. @see qemu_co_rwlock_downgrade */
  downgrade(): void {
    if (this.#owners !== -1) throw bugError('CoRwlock.downgrade by nobody who writes')
    this.#owners = 1
    this.#grant()
  }

  /** @see qemu_co_rwlock_unlock */
  unlock(): void {
    if (this.#owners === 0) throw bugError('a CoRwlock is unlocked that nobody holds')
    this.#owners = this.#owners < 0 ? 0 : this.#owners - 1
    this.#grant()
  }

  #queue(read: boolean): CoroutineFn {
    const co = Coroutine.current
    if (!co) throw bugError('a CoRwlock is locked outside a coroutine')
    const ticket = { co, read }
    this.#tickets.push(ticket)
    return this.#waitFor(ticket)
  }

  *#waitFor(ticket: Ticket): CoroutineFn {
    while (this.#tickets.includes(ticket)) yield* Coroutine.yield()
  }

  /** Lets in whoever is first and may: one writer, or the readers up to the next writer. */
  #grant(): void {
    for (;;) {
      const first = this.#tickets[0]
      if (!first || (first.read ? this.#owners < 0 : this.#owners !== 0)) return
      this.#tickets.shift()
      this.#owners = first.read ? this.#owners + 1 : -1
      first.co.wake()
    }
  }
}
