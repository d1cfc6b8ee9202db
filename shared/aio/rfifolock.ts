/**
 * A lock between threads that is recursive and hands itself on in the order in which it was asked for.
 *
 * It lies in four words of shared memory. Whoever has to wait calls the contention callback each time before it
 * sleeps, so that it can kick the holder; the callback must not lock or unlock the same lock.
 *
 * @see util/rfifolock.c in QEMU 1.5 to 2.8
 */
import { threadId } from 'node:worker_threads'
import { bugError } from '../errors/nbd-error.ts'
import { waitWord } from './wait-word.ts'

// The ticket that is served, the next ticket to draw, the holder's thread, how often it has locked.
const HEAD = 0
const TAIL = 1
const OWNER = 2
const NESTING = 3
export const RFIFOLOCK_WORDS = 4

/** Thread ids begin at 0, and 0 stands for "nobody". */
const SELF = threadId + 1

export class RFifoLock {
  readonly #words: Int32Array
  readonly #at: number
  readonly #onContention: (() => void) | undefined

  /**
   * @param words of shared memory; all threads that share the lock pass the same ones, 0 at first
   * @param at of its RFIFOLOCK_WORDS words among them
   */
  constructor(words: Int32Array, at: number, onContention?: () => void) {
    this.#words = words
    this.#at = at
    this.#onContention = onContention
  }

  /** Whether the calling thread holds it. */
  get held(): boolean {
    return Atomics.load(this.#words, this.#at + OWNER) === SELF
  }

  /** Whether somebody waits for it. Out of date at once. */
  get contended(): boolean {
    const taken = this.held ? 1 : 0
    return this.#tickets() > taken
  }

  /**
   * Takes the lock, and blocks the thread until it is its turn.
   *
   * @context a thread that may block; everything else of that thread waits with it
   * @throws NBDError of kind `bug` when the lock was abandoned meanwhile
   */
  lock(): void {
    if (this.#relock()) return
    const ticket = this.#draw()
    for (;;) {
      const head = Atomics.load(this.#words, this.#at + HEAD)
      if (isServed(ticket, head)) break
      this.#onContention?.()
      Atomics.wait(this.#words, this.#at + HEAD, head)
    }
    this.#own()
  }

  /**
   * Takes the lock without blocking the thread; resolves when it is its turn.
   *
   * The lock belongs to the thread, not to the caller: two callers of one thread are not kept apart, they nest.
   *
   * @throws NBDError of kind `bug` when the lock was abandoned meanwhile
   */
  async lockAsync(): Promise<void> {
    if (this.#relock()) return
    const ticket = this.#draw()
    for (;;) {
      const head = Atomics.load(this.#words, this.#at + HEAD)
      if (isServed(ticket, head)) break
      this.#onContention?.()
      await waitWord(this.#words, this.#at + HEAD, head)
    }
    this.#own()
  }

  /** Gives it back; the longest waiter is next. @throws NBDError of kind `bug` when the thread does not hold it */
  unlock(): void {
    const head = Atomics.load(this.#words, this.#at + HEAD)
    if (!this.held) throw bugError('an RFifoLock is unlocked by a thread that does not hold it')
    if (Atomics.sub(this.#words, this.#at + NESTING, 1) > 1) return
    // Unless it is being abandoned, and is no longer ours.
    Atomics.compareExchange(this.#words, this.#at + OWNER, SELF, 0)
    Atomics.compareExchange(this.#words, this.#at + HEAD, head, (head + 1) | 0)
    // All of them: only the one whose ticket it is goes on.
    Atomics.notify(this.#words, this.#at + HEAD)
  }

  /**
   * Takes the lock from whoever holds it, since the thread that it stood for is no more. Those who wait hear of it, and
   * whoever asks from now on has it as if it were new.
   *
   * @context any-thread
   */
  abandon(): void {
    Atomics.store(this.#words, this.#at + NESTING, 0)
    Atomics.store(this.#words, this.#at + OWNER, 0)
    Atomics.store(this.#words, this.#at + HEAD, Atomics.load(this.#words, this.#at + TAIL))
    Atomics.notify(this.#words, this.#at + HEAD)
  }

  #tickets(): number {
    return (Atomics.load(this.#words, this.#at + TAIL) - Atomics.load(this.#words, this.#at + HEAD)) | 0
  }

  #relock(): boolean {
    if (!this.held) return false
    Atomics.add(this.#words, this.#at + NESTING, 1)
    return true
  }

  #draw(): number {
    return Atomics.add(this.#words, this.#at + TAIL, 1)
  }

  #own(): void {
    Atomics.store(this.#words, this.#at + OWNER, SELF)
    Atomics.store(this.#words, this.#at + NESTING, 1)
  }
}

/** Whether it is the ticket's turn. Tickets wrap around. @throws NBDError when it was passed over */
function isServed(ticket: number, head: number): boolean {
  if (((head - ticket) | 0) > 0) throw bugError('an RFifoLock was abandoned while somebody waited for it')
  return head === ticket
}
