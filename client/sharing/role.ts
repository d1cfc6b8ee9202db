/**
 * What one part of a shared connection does at a time: sending, or receiving. Whoever wants a role that nobody has takes
 * it; whoever has it gives it to somebody who wants it, or to somebody in particular.
 *
 * No wish is overlooked: who wants the role says so before looking whether it is free, and who gives it up looks for
 * wishes after having done so. A part whose thread was ended by force is passed over; if it had the role, nobody can tell
 * what it was in the middle of.
 */
import type { PartTable } from './parts.ts'

/** The part that has the role, + 1; 0: nobody. */
export const ROLE_WORDS = 1

export class Role {
  readonly #words: Int32Array
  readonly #at: number
  readonly #parts: PartTable
  readonly #me: number
  readonly #bit: number

  /**
   * @param at of its ROLE_WORDS words, 0 at first
   * @param me the part that looks at it
   * @param bit by which a wish for it is marked
   */
  constructor(words: Int32Array, at: number, parts: PartTable, me: number, bit: number) {
    this.#words = words
    this.#at = at
    this.#parts = parts
    this.#me = me
    this.#bit = bit
  }

  get isMine(): boolean {
    return Atomics.load(this.#words, this.#at) === this.#me + 1
  }

  /** Wants it from now on. @returns whether it is ours already; if not, we are woken when it is */
  take(): boolean {
    this.#parts.want(this.#me, this.#bit)
    return this.isMine || this.#change(0, this.#me) || this.isMine
  }

  /** Does not want it any more; if it is ours, the next one who wants it gets it. */
  release(): void {
    this.#parts.unwant(this.#me, this.#bit)
    if (!this.isMine) return
    Atomics.store(this.#words, this.#at, 0)
    this.#grantNext()
  }

  /** Gives ours to somebody in particular, who is woken, and still wants it back. @returns false when he has gone */
  give(to: number): boolean {
    Atomics.store(this.#words, this.#at, to + 1)
    // He may have left meanwhile, and has looked at this, or not yet.
    if (!this.#parts.isThere(to) && this.#change(to + 1, this.#me)) return false
    this.#parts.wake(to)
    return true
  }

  /** To be called when we do not take part any more, or not yet: we may have been given it just then. */
  decline(): void {
    if (this.#change(this.#me + 1, -1)) this.#grantNext()
  }

  /** Whether a part has it. */
  isOf(part: number): boolean {
    return Atomics.load(this.#words, this.#at) === part + 1
  }

  #grantNext(): void {
    for (const next of this.#parts.wanting(this.#bit, this.#me)) {
      if (!this.#change(0, next)) return
      if (this.#parts.isThere(next)) {
        this.#parts.wake(next)
        return
      }
      if (!this.#change(next + 1, -1)) return
    }
  }

  /** @param from the word as it must be @param to the part that is to have it; -1: nobody */
  #change(from: number, to: number): boolean {
    return Atomics.compareExchange(this.#words, this.#at, from, to + 1) === from
  }
}
