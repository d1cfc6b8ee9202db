/**
 * The requests in flight of a connection that several threads share: a table in shared memory. A request has a slot until
 * its reply is complete; its cookie says which, so that whoever reads the header of a reply knows whose it is.
 *
 * A slot also holds what was asked for: a reply that nobody waits for any more, since a thread has ended or left, can
 * then be read and dropped by any.
 *
 * @see NBDClientRequest and COOKIE_TO_INDEX in QEMU's block/nbd.c
 */
import type { Command } from '../transmission/pending-request.ts'
import { NBD_MAX_SHARED_REQUESTS } from './limits.ts'

const COUNT = 0
const OWNER = 0
const GENERATION = 1
/** Type, and flags above it. */
const TYPE = 2
const OFFSET_HIGH = 3
const OFFSET_LOW = 4
const LENGTH_HIGH = 5
const LENGTH_LOW = 6
const SLOT_WORDS = 7
export const SLOTS_WORDS = 1 + NBD_MAX_SHARED_REQUESTS * SLOT_WORDS

const LOW = 0x100000000
/** How often a slot is used before its cookies begin anew; a cookie is below 2^53. */
const GENERATIONS = 2 ** 21

const FREE = 0
/** Its owner has gone. Parts are 1 and more. */
const ORPHAN = -1

/** There is no such request in flight. */
export const NO_PART = -1
/** It is in flight, and nobody waits for its reply. */
export const ORPHANED = -2

export class RequestSlots {
  readonly #words: Int32Array
  readonly #at: number
  readonly #me: number
  /** Where to look for a free one first. */
  #next: number

  /**
   * @param at of its SLOTS_WORDS words, 0 at first
   * @param me the part that uses them
   */
  constructor(words: Int32Array, at: number, me: number) {
    this.#words = words
    this.#at = at
    this.#me = me
    this.#next = (me * 32) % NBD_MAX_SHARED_REQUESTS
  }

  /** Requests in flight, of all parts. */
  get count(): number {
    return Atomics.load(this.#words, this.#at + COUNT)
  }

  /** @returns the cookie, below 2^53; undefined when all slots are taken */
  take({ type, flags, offset, length }: Command): number | undefined {
    if (Atomics.add(this.#words, this.#at + COUNT, 1) >= NBD_MAX_SHARED_REQUESTS) {
      Atomics.sub(this.#words, this.#at + COUNT, 1)
      return undefined
    }
    // There is one for each that is counted.
    for (let slot = this.#next; ; slot = (slot + 1) % NBD_MAX_SHARED_REQUESTS) {
      const word = this.#word(slot)
      if (Atomics.compareExchange(this.#words, word + OWNER, FREE, this.#me + 1) !== FREE) continue
      this.#next = slot
      const generation = (Atomics.load(this.#words, word + GENERATION) + 1) % GENERATIONS
      Atomics.store(this.#words, word + GENERATION, generation)
      Atomics.store(this.#words, word + TYPE, type | (flags << 16))
      Atomics.store(this.#words, word + OFFSET_HIGH, Math.floor(offset / LOW))
      Atomics.store(this.#words, word + OFFSET_LOW, offset % LOW)
      Atomics.store(this.#words, word + LENGTH_HIGH, Math.floor(length / LOW))
      Atomics.store(this.#words, word + LENGTH_LOW, length % LOW)
      return generation * LOW + slot
    }
  }

  /** Its reply is complete, or will never come. Whoever waits for a slot is the caller's to wake. */
  free(cookie: number): void {
    Atomics.store(this.#words, this.#word(cookie % LOW) + OWNER, FREE)
    Atomics.sub(this.#words, this.#at + COUNT, 1)
  }

  /** @returns whose request has the cookie: a part, ORPHANED, or NO_PART */
  ownerOf(cookie: number): number {
    const slot = cookie % LOW
    if (slot >= NBD_MAX_SHARED_REQUESTS) return NO_PART
    const owner = Atomics.load(this.#words, this.#word(slot) + OWNER)
    if (owner === FREE || this.#generationOf(slot) !== Math.floor(cookie / LOW)) return NO_PART
    return owner === ORPHAN ? ORPHANED : owner - 1
  }

  /** Takes over a request that is ORPHANED. @returns what was asked for, without the buffers */
  adopt(cookie: number): Command {
    const word = this.#word(cookie % LOW)
    Atomics.store(this.#words, word + OWNER, this.#me + 1)
    const load = (index: number): number => Atomics.load(this.#words, word + index) >>> 0
    return {
      type: load(TYPE) & 0xffff,
      flags: load(TYPE) >>> 16,
      offset: load(OFFSET_HIGH) * LOW + load(OFFSET_LOW),
      length: load(LENGTH_HIGH) * LOW + load(LENGTH_LOW)
    }
  }

  /** Nobody waits for the replies to a part's requests any more. */
  orphan(part: number): void {
    for (let slot = 0; slot < NBD_MAX_SHARED_REQUESTS; slot++)
      Atomics.compareExchange(this.#words, this.#word(slot) + OWNER, part + 1, ORPHAN)
  }

  #generationOf(slot: number): number {
    return Atomics.load(this.#words, this.#word(slot) + GENERATION)
  }

  #word(slot: number): number {
    return this.#at + 1 + slot * SLOT_WORDS
  }
}
