/**
 * Who takes part in a connection that several threads share: a table in shared memory. A part is one attachment, in one
 * thread; what the others need of it is a bottom half that wakes it, and what it wants.
 *
 * A thread may be ended by force at any moment. Its parts are then in the table, but not alive, until `reap` takes them
 * out.
 */
import { scheduleRemote } from '../../shared/aio/bottom-half.ts'
import { contextOf, isLive, type BottomHalfHandle } from '../../shared/aio/context-table.ts'
import { NBDError } from '../../shared/errors/nbd-error.ts'
import { kernelThreadId, threadRuns } from '../../shared/syscall/thread.ts'
import { NBD_MAX_PARTS } from './limits.ts'

/** How many there are, the dead ones that were not reaped included. */
const COUNT = 0
/** Behind the highest index that was ever in use. */
const HIGHEST = 1
const HEADER_WORDS = 2
const STATE = 0
const WAKE = 1
const WANTS = 2
/** The kernel's id of its thread. */
const THREAD = 3
const PART_WORDS = 4
export const PARTS_WORDS = HEADER_WORDS + NBD_MAX_PARTS * PART_WORDS

const FREE = 0
/** Between the two. */
const CHANGING = 1
const TAKEN = 2

export class PartTable {
  readonly #words: Int32Array
  readonly #at: number

  /**
   * @param words of shared memory, 0 at first
   * @param at of its PARTS_WORDS words among them
   */
  constructor(words: Int32Array, at: number) {
    this.#words = words
    this.#at = at
  }

  /** How many take part. */
  get count(): number {
    return Atomics.load(this.#words, this.#at + COUNT)
  }

  /** For the first one, which finds none. */
  begin(wake: BottomHalfHandle): number {
    Atomics.store(this.#words, this.#at + COUNT, 1)
    return this.#claim(wake)
  }

  /**
   * Takes part as well, unless all others have left.
   *
   * @param wake is scheduled when there is something to look at
   * @returns the index of the new part; undefined when nobody is left
   * @throws NBDError of kind `request` when there are too many
   */
  join(wake: BottomHalfHandle): number | undefined {
    const index = this.#at + COUNT
    for (;;) {
      const count = Atomics.load(this.#words, index)
      if (count === 0) return undefined
      if (count >= NBD_MAX_PARTS)
        throw new NBDError('request', `a connection is shared by ${NBD_MAX_PARTS} at the most`)
      if (Atomics.compareExchange(this.#words, index, count, count + 1) === count) return this.#claim(wake)
    }
  }

  /** It is not there any more, for the others; its index is not free before `leave`. */
  depart(part: number): void {
    Atomics.store(this.#words, this.#word(part, STATE), CHANGING)
    Atomics.store(this.#words, this.#word(part, WANTS), 0)
  }

  /** Behind `depart`. @returns whether it was the last */
  leave(part: number): boolean {
    Atomics.store(this.#words, this.#word(part, STATE), FREE)
    return Atomics.sub(this.#words, this.#at + COUNT, 1) === 1
  }

  /** Whether it takes part, and its thread lives. Out of date at once. */
  isThere(part: number): boolean {
    return Atomics.load(this.#words, this.#word(part, STATE)) === TAKEN && this.#lives(part)
  }

  /** Lets a part look at what there is. */
  wake(part: number): void {
    scheduleRemote(this.#wakeOf(part))
  }

  /** Lets all look, but for `me`. */
  wakeOthers(me: number): void {
    for (let part = 0; part < this.#highest; part++) if (part !== me && this.isThere(part)) this.wake(part)
  }

  /** @param what a bit */
  want(part: number, what: number): void {
    Atomics.or(this.#words, this.#word(part, WANTS), what)
  }

  unwant(part: number, what: number): void {
    Atomics.and(this.#words, this.#word(part, WANTS), ~what)
  }

  wants(part: number, what: number): boolean {
    return (Atomics.load(this.#words, this.#word(part, WANTS)) & what) !== 0
  }

  /** Those that want something and are there, the next behind `me` first, and `me` last. */
  *wanting(what: number, me: number): Generator<number> {
    const highest = this.#highest
    for (let i = 1; i <= highest; i++) {
      const part = (me + i) % highest
      if (this.wants(part, what) && this.isThere(part)) yield part
    }
  }

  /**
   * Takes out those whose threads have ended.
   *
   * @param onDead called with each, before its index can be used again
   * @returns whether the last of all was one of them
   */
  reap(onDead: (part: number) => void): boolean {
    for (let part = 0; part < this.#highest; part++) {
      const state = this.#word(part, STATE)
      if (Atomics.load(this.#words, state) !== TAKEN || (this.#lives(part) && this.#runs(part))) continue
      if (Atomics.compareExchange(this.#words, state, TAKEN, CHANGING) !== TAKEN) continue
      onDead(part)
      this.depart(part)
      if (this.leave(part)) return true
    }
    return false
  }

  get #highest(): number {
    return Atomics.load(this.#words, this.#at + HIGHEST)
  }

  #word(part: number, word: number): number {
    return this.#at + HEADER_WORDS + part * PART_WORDS + word
  }

  #wakeOf(part: number): BottomHalfHandle {
    return Atomics.load(this.#words, this.#word(part, WAKE)) as BottomHalfHandle
  }

  #lives(part: number): boolean {
    return isLive(contextOf(this.#wakeOf(part)))
  }

  /** A worker that somebody else has started and ended by force has a context as if it lived. */
  #runs(part: number): boolean {
    return threadRuns(Atomics.load(this.#words, this.#word(part, THREAD)))
  }

  /** There is a place for each that is counted. */
  #claim(wake: BottomHalfHandle): number {
    for (let part = 0; ; part = (part + 1) % NBD_MAX_PARTS) {
      const state = this.#word(part, STATE)
      if (Atomics.compareExchange(this.#words, state, FREE, CHANGING) !== FREE) continue
      Atomics.store(this.#words, this.#word(part, WAKE), wake)
      Atomics.store(this.#words, this.#word(part, THREAD), kernelThreadId())
      this.#raiseHighest(part + 1)
      Atomics.store(this.#words, state, TAKEN)
      return part
    }
  }

  #raiseHighest(to: number): void {
    const index = this.#at + HIGHEST
    for (let highest = Atomics.load(this.#words, index); highest < to;) {
      const before = Atomics.compareExchange(this.#words, index, highest, to)
      if (before === highest) return
      highest = before
    }
  }
}
