/**
 * What other threads need of an AioContext: one piece of shared memory, and a descriptor that wakes its loop.
 *
 * Words of 32 bits:
 *   0              notified: there is something to look at
 *   1              notify me: the loop sleeps, or is about to; whoever clears it wakes it
 *   2              tail of the ring
 *   4 ... 7        the context's RFifoLock
 *   16 ... + n     flags of slot i
 *   16+n ... + n   ring of scheduled slots, each as its number + 1
 *
 * A slot is a bottom half. It is in the ring at most once (its PENDING flag says so), so a ring with a place
 * for each slot is never full, and producers need neither lock nor loop: scheduling is wait-free.
 *
 * @see AioContext in QEMU's include/block/aio.h: `notified`, `notify_me`, `bh_list`
 */
import { writeByte } from '../syscall/pipe.ts'

/** Slots of a context; a power of two, for the ring. */
export const MAX_SLOTS = 16384

export const NOTIFIED = 0
export const NOTIFY_ME = 1
export const RING_TAIL = 2
export const LOCK = 4
export const FLAGS = 16
export const RING = FLAGS + MAX_SLOTS
const WORDS = RING + MAX_SLOTS

/** The slot is in the ring. */
export const BH_PENDING = 1
/** It is to run when it is taken out of the ring. */
export const BH_SCHEDULED = 2
/** It will never run again, and is free when it has left the ring. */
export const BH_DELETED = 4
/** Nobody is in a hurry. */
export const BH_IDLE = 8

/** A context as another thread knows it: postable. */
export interface AioContextHandle {
  memory: SharedArrayBuffer
  notifyFd: number
}

export const newContextMemory = (): SharedArrayBuffer =>
  new SharedArrayBuffer(WORDS * Int32Array.BYTES_PER_ELEMENT)

const views = new WeakMap<SharedArrayBuffer, Int32Array>()

/** The words of a context; one view per thread. */
export function contextWords(memory: SharedArrayBuffer): Int32Array {
  let words = views.get(memory)
  if (!words) views.set(memory, (words = new Int32Array(memory)))
  return words
}

/**
 * Wakes the loop if it sleeps. What it is to find must have been stored before.
 *
 * @context any-thread
 * @see aio_notify
 */
export function notify(words: Int32Array, notifyFd: number): void {
  // Pairs with `AioContext.#sleep`: it stores NOTIFY_ME and then looks at NOTIFIED, we the other way round, so one of
  // us sees the other.
  Atomics.store(words, NOTIFIED, 1)
  if (Atomics.exchange(words, NOTIFY_ME, 0) === 1) writeByte(notifyFd)
}

/**
 * Schedules a slot.
 *
 * @context any-thread; wait-free
 * @returns whether it was put into the ring; false when it is there already
 * @see aio_bh_enqueue
 */
export function enqueueSlot(words: Int32Array, slot: number, flags: number): boolean {
  if ((Atomics.or(words, FLAGS + slot, flags | BH_PENDING) & BH_PENDING) !== 0) return false
  const place = Atomics.add(words, RING_TAIL, 1) & (MAX_SLOTS - 1)
  Atomics.store(words, RING + place, slot + 1)
  return true
}
