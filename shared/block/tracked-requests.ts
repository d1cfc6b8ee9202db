/**
 * The requests in flight that change a node, in all threads that use it, so that those which must not overlap wait for
 * each other.
 *
 * A request that reads and writes more than it changes (a _serialising_ one) must not overlap any other; the rest only
 * keep off those. Who waits, waits for older ones alone: there is no circle, and nobody is overtaken.
 *
 * What a thread has left behind that was ended by force counts no more when its context has ended.
 *
 * @see BdrvTrackedRequest, bdrv_make_request_serialising in QEMU's block/io.c
 */
import { AioContext } from '../aio/aio-context.ts'
import { aioWaitKick, aioWaitWhile } from '../aio/aio-wait.ts'
import { isLive, type AioContextHandle } from '../aio/context-table.ts'
import { QEMU_MUTEX_WORDS, QemuMutex } from '../aio/qemu-mutex.ts'

/** At a time; more wait for room. */
export const MAX_TRACKED_REQUESTS = 4096

const GUARD = 0
/** How many of those in flight are serialising. */
const SERIALISING = GUARD + QEMU_MUTEX_WORDS
/** Slots that were in use at a time. */
const USED = SERIALISING + 1
/** The first free slot below that, as its number + 1. */
const FREE = USED + 1
/** Of requests, counting up. */
const SEQUENCE = FREE + 1
const SLOTS = SEQUENCE + 1

// Of a slot:
/** The context of its request; 0 while the slot is free. */
const OWNER = 0
/** Its number. */
const NUMBER = 1
const IS_SERIALISING = 2
/** The next free slot, as its number + 1. */
const NEXT = 3
const SLOT_WORDS = 4
const WORDS = SLOTS + MAX_TRACKED_REQUESTS * SLOT_WORDS
/** Start and end of each slot's request stand behind the words, as float64. */
const RANGES = Math.ceil(WORDS / 2) * 2 * Int32Array.BYTES_PER_ELEMENT

const NONE = -1

export class TrackedRequests {
  /** Postable; the views of all threads share it. */
  readonly memory: SharedArrayBuffer
  readonly #words: Int32Array
  readonly #ranges: Float64Array
  readonly #guard: QemuMutex

  /** @param memory of another thread's; its own when there is none */
  constructor(memory?: SharedArrayBuffer) {
    // Pages that nobody has touched take no memory.
    this.memory =
      memory ?? new SharedArrayBuffer(RANGES + 2 * MAX_TRACKED_REQUESTS * Float64Array.BYTES_PER_ELEMENT)
    this.#words = new Int32Array(this.memory, 0, WORDS)
    this.#ranges = new Float64Array(this.memory, RANGES)
    this.#guard = new QemuMutex(this.#words, GUARD)
  }

  /** In flight, as far as is known. */
  get count(): number {
    let count = 0
    for (let slot = 0; slot < this.#words[USED]!; slot++) if (this.#isInFlight(slot)) count++
    return count
  }

  /**
   * Begins a change of the bytes from `start` to `end`; resolves when none of the others keeps it from going on.
   *
   * @param serialising it reads what it writes, or parts of it
   * @returns what `end` wants; a promise only if there is something to wait for
   */
  begin(start: number, end: number, serialising: boolean): number | Promise<number> {
    const slot = this.#take(start, end, serialising)
    if (slot === NONE) return this.#beginLater(start, end, serialising)
    return this.#mustWait(slot) ? this.#wait(slot) : slot
  }

  /** The request is done. */
  end(slot: number): void {
    this.#guard.lock()
    this.#free(slot)
    this.#guard.unlock()
    aioWaitKick()
  }

  async #beginLater(start: number, end: number, serialising: boolean): Promise<number> {
    let slot = NONE
    await aioWaitWhile(() => (slot = this.#take(start, end, serialising)) === NONE)
    return this.#mustWait(slot) ? this.#wait(slot) : slot
  }

  async #wait(slot: number): Promise<number> {
    await aioWaitWhile(() => this.#mustWait(slot))
    return slot
  }

  /** @returns NONE when all are taken */
  #take(start: number, end: number, serialising: boolean): number {
    const words = this.#words
    this.#guard.lock()
    let slot = words[FREE]! - 1
    if (slot >= 0) words[FREE] = words[this.#at(slot) + NEXT]!
    else if (words[USED]! < MAX_TRACKED_REQUESTS) slot = words[USED]!++
    else slot = this.#reclaim()
    if (slot !== NONE) {
      const at = this.#at(slot)
      words[at + OWNER] = AioContext.current().handle
      words[at + NUMBER] = words[SEQUENCE] = (words[SEQUENCE]! + 1) | 0
      words[at + IS_SERIALISING] = Number(serialising)
      if (serialising) words[SERIALISING]!++
      this.#ranges[2 * slot] = start
      this.#ranges[2 * slot + 1] = end
    }
    this.#guard.unlock()
    return slot
  }

  #at(slot: number): number {
    return SLOTS + slot * SLOT_WORDS
  }

  /** The guard is held. */
  #free(slot: number): void {
    const words = this.#words
    const at = this.#at(slot)
    words[at + OWNER] = 0
    if (words[at + IS_SERIALISING] === 1) words[SERIALISING]!--
    words[at + NEXT] = words[FREE]!
    words[FREE] = slot + 1
  }

  /** Takes the slots of ended contexts back; the guard is held. @returns one of them, or NONE */
  #reclaim(): number {
    const words = this.#words
    for (let slot = 0; slot < MAX_TRACKED_REQUESTS; slot++) if (!this.#isInFlight(slot)) this.#free(slot)
    const slot = words[FREE]! - 1
    if (slot >= 0) words[FREE] = words[this.#at(slot) + NEXT]!
    return slot
  }

  #isInFlight(slot: number): boolean {
    const owner = this.#words[this.#at(slot) + OWNER] as AioContextHandle
    return (owner as number) !== 0 && isLive(owner)
  }

  /** Whether an older request in flight keeps it from going on. */
  #mustWait(slot: number): boolean {
    const words = this.#words
    this.#guard.lock()
    const waits = words[SERIALISING]! > 0 && this.#hasConflict(slot)
    this.#guard.unlock()
    return waits
  }

  /** The guard is held. */
  #hasConflict(slot: number): boolean {
    const words = this.#words
    const ranges = this.#ranges
    const self = this.#at(slot)
    const serialising = words[self + IS_SERIALISING] === 1
    const number = words[self + NUMBER]!
    const start = ranges[2 * slot]!
    const end = ranges[2 * slot + 1]!
    for (let other = 0; other < words[USED]!; other++) {
      const at = this.#at(other)
      if (ranges[2 * other]! >= end || ranges[2 * other + 1]! <= start) continue
      if (!serialising && words[at + IS_SERIALISING] === 0) continue
      // Numbers wrap around.
      if (((words[at + NUMBER]! - number) | 0) >= 0) continue
      if (this.#isInFlight(other)) return true
    }
    return false
  }
}
