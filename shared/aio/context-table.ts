/**
 * What threads need of each other's AioContexts: a table of all contexts of the process, in shared memory.
 *
 * A context is known everywhere by its number in the table, and so is whatever it schedules: a handle is one number,
 * which can be posted, and kept in shared memory beside a lock. The table comes into being in the first thread that uses
 * it, and every thread that is started from there finds it in its environment data.
 *
 * Words of 32 bits, from `contextBase` on:
 *   0              notified: there is something to look at
 *   1              notify me: the loop sleeps, or is about to; whoever clears it wakes it
 *   2              tail of the ring
 *   3              the thread whose context it is, as its id + 1; 0: free
 *   4 ... 7        the context's RFifoLock
 *   8, 9           descriptors of the pipe that wakes the loop, each + 1
 *   10             the handle of the context; 0: it has ended
 *   11             how many contexts the entry has had
 *   12             idle: the loop sleeps, or polls and finds nothing
 *   32 ... + n     flags of slot i, and how often it began to run
 *   ...    + n     how often slot i has run
 *   ...    + n     ring of scheduled slots, each as its number + 1
 *   ...    + n     the handle behind slot i in a list of waiters
 *   ...    + n     what slot i waits for
 *
 * A slot is a bottom half. It is in the ring at most once (its PENDING flag says so), so a ring with a place
 * for each slot is never full, and producers need neither lock nor loop: scheduling is wait-free.
 *
 * The pipe stays with the table's entry for as long as the process lives: whoever wakes a context that has just ended
 * writes to a pipe that nobody reads, and never to a descriptor that has become something else. A handle knows which of
 * the entry's contexts it means, so that nothing is scheduled in a later one.
 *
 * @see AioContext in QEMU's include/block/aio.h: `notified`, `notify_me`, `bh_list`
 */
import { getEnvironmentData, setEnvironmentData, threadId } from 'node:worker_threads'
import { bugError } from '../errors/nbd-error.ts'
import { createPipe, writeByte } from '../syscall/pipe.ts'
import { RFifoLock } from './rfifolock.ts'

/** Contexts at a time: threads of the process that use mqnbd; a power of two. */
export const MAX_CONTEXTS = 128
const SLOT_BITS = 14
/** Slots of a context; a power of two, for the ring. */
export const MAX_SLOTS = 1 << SLOT_BITS
/** Generations of an entry; with the two above, a handle has 31 bits, and is positive as an Int32. */
const MAX_GENERATIONS = 1023

export const NOTIFIED = 0
export const NOTIFY_ME = 1
export const RING_TAIL = 2
const OWNER = 3
export const LOCK = 4
const READ_FD = 8
const WRITE_FD = 9
const HANDLE = 10
const GENERATION = 11
export const IDLE = 12
export const FLAGS = 32
export const RUNS = FLAGS + MAX_SLOTS
export const RING = RUNS + MAX_SLOTS
export const NEXT = RING + MAX_SLOTS
export const WAITS = NEXT + MAX_SLOTS
const CONTEXT_WORDS = WAITS + MAX_SLOTS

// In front of the contexts, for all threads together.
/** Counts up whenever somebody who waits by `aioWaitWhile` may find that something has changed. */
export const KICKS = 0
/** How many wait so. */
export const KICK_WAITERS = 1
const HEADER_WORDS = 32

/** The slot is in the ring. */
export const BH_PENDING = 1
/** It is to run when it is taken out of the ring. */
export const BH_SCHEDULED = 2
/** It will never run again, and is free when it has left the ring. */
export const BH_DELETED = 4
/** Nobody is in a hurry. */
export const BH_IDLE = 8
/** All flags. */
export const BH_ALL = BH_PENDING | BH_SCHEDULED | BH_DELETED | BH_IDLE
/** The number of times that it was taken out of the ring stands above the flags. */
export const BH_TAKEN_SHIFT = 8

/** A context, in any thread: postable, and never 0. After its end it is known to have ended. */
export type AioContextHandle = number & { readonly aioContext: unique symbol }

/** A bottom half, in any thread: postable, and never 0. Not to be used after it was deleted. */
export type BottomHalfHandle = number & { readonly bottomHalf: unique symbol }

// The number at its end is that of the layout: two versions of this file in one process have two tables.
const KEY = 'mqnbd.contexts.2'

function findTable(): Int32Array {
  const found = getEnvironmentData(KEY)
  if (found instanceof SharedArrayBuffer) return new Int32Array(found)
  // Pages that nobody has touched take no memory.
  const words = HEADER_WORDS + MAX_CONTEXTS * CONTEXT_WORDS
  const table = new SharedArrayBuffer(words * Int32Array.BYTES_PER_ELEMENT)
  setEnvironmentData(KEY, table)
  return new Int32Array(table)
}

/** The table, for Atomics. */
export const words = findTable()

const entryBase = (entry: number): number => HEADER_WORDS + entry * CONTEXT_WORDS

/** Index of the first word of a context. */
export const contextBase = (context: AioContextHandle): number => entryBase(context & (MAX_CONTEXTS - 1))

/** Whether a context has not ended. Out of date at once, unless it is the caller's own. */
export const isLive = (context: AioContextHandle): boolean =>
  Atomics.load(words, contextBase(context) + HANDLE) === context

export const slotHandle = (context: AioContextHandle, slot: number): BottomHalfHandle =>
  (context * MAX_SLOTS + slot) as BottomHalfHandle

export const contextOf = (handle: BottomHalfHandle): AioContextHandle =>
  (handle >>> SLOT_BITS) as AioContextHandle

export const slotOf = (handle: BottomHalfHandle): number => handle & (MAX_SLOTS - 1)

/** Index of the word that belongs to a slot in one of the context's arrays: FLAGS, RUNS, NEXT, WAITS. */
export const slotWord = (array: number, handle: BottomHalfHandle): number =>
  contextBase(contextOf(handle)) + array + slotOf(handle)

/** An entry of the table, as its owner has it. */
export interface ClaimedContext {
  handle: AioContextHandle
  /** The end of the pipe that its loop reads; stays open when the context ends. */
  readFd: number
}

/**
 * Takes an entry of the table for the calling thread.
 *
 * @throws NBDError of kind `bug` when all are taken, of kind `request` (EMFILE) without descriptors for its pipe
 */
export function claimContext(): ClaimedContext {
  for (let entry = 0; entry < MAX_CONTEXTS; entry++) {
    const base = entryBase(entry)
    if (Atomics.compareExchange(words, base + OWNER, 0, threadId + 1) !== 0) continue
    try {
      if (words[base + READ_FD] === 0) addPipe(base)
      else clearSlots(base)
    } catch (error) {
      Atomics.store(words, base + OWNER, 0)
      throw error
    }
    const generation = (words[base + GENERATION]! % MAX_GENERATIONS) + 1
    words[base + GENERATION] = generation
    const handle = (generation * MAX_CONTEXTS + entry) as AioContextHandle
    Atomics.store(words, base + HANDLE, handle)
    return { handle, readFd: words[base + READ_FD]! - 1 }
  }
  throw bugError(`more than ${MAX_CONTEXTS} threads use mqnbd`)
}

function addPipe(base: number): void {
  const { readFd, writeFd } = createPipe()
  words[base + READ_FD] = readFd + 1
  Atomics.store(words, base + WRITE_FD, writeFd + 1)
}

/** Takes away what an earlier context has left; here, so that it includes what came after its end. */
function clearSlots(base: number): void {
  for (const array of [FLAGS, RUNS, RING]) {
    for (let at = base + array; at < base + array + MAX_SLOTS; at++) {
      // Only looked at, it takes no memory.
      if (words[at] !== 0) Atomics.store(words, at, 0)
    }
  }
}

/** Whether a context has nothing to do. Out of date at once. */
export const isIdle = (context: AioContextHandle): boolean =>
  Atomics.load(words, contextBase(context) + IDLE) === 1

/** Gives an entry back, when its loop does not turn any more. Those who wait for the context hear that it has ended. */
export function releaseContext(handle: AioContextHandle): void {
  const base = contextBase(handle)
  Atomics.store(words, base + HANDLE, 0)
  Atomics.store(words, base + NOTIFIED, 0)
  Atomics.store(words, base + NOTIFY_ME, 0)
  Atomics.store(words, base + IDLE, 0)
  new RFifoLock(words, base + LOCK).abandon()
  Atomics.store(words, base + OWNER, 0)
  kickWaiters()
}

/**
 * Gives back what a thread had that has ended without doing so itself, and wakes all others: it may have been stopped
 * between scheduling something and waking whose it is.
 */
export function releaseContextsOfThread(id: number): void {
  for (let entry = 0; entry < MAX_CONTEXTS; entry++) {
    const base = entryBase(entry)
    const handle = Atomics.load(words, base + HANDLE) as AioContextHandle
    if (handle === 0) continue
    if (Atomics.load(words, base + OWNER) === id + 1) releaseContext(handle)
    else writeByte(words[base + WRITE_FD]! - 1)
  }
  kickWaiters()
}

/** As aio-wait.ts tells it. */
export function kickWaiters(): void {
  if (Atomics.load(words, KICK_WAITERS) === 0) return
  Atomics.add(words, KICKS, 1)
  Atomics.notify(words, KICKS)
}

/**
 * Wakes a context's loop if it sleeps. What it is to find must have been stored before.
 *
 * @context any-thread
 * @see aio_notify
 */
export function notify(context: AioContextHandle): void {
  // Pairs with `AioContext.#sleep`: it stores NOTIFY_ME and then looks at NOTIFIED, we the other way round, so one of
  // us sees the other.
  const base = contextBase(context)
  // Somebody else has just done so: the loop clears it before it looks, and will find ours too.
  if (Atomics.load(words, base + NOTIFIED) !== 0) return
  Atomics.store(words, base + NOTIFIED, 1)
  if (Atomics.exchange(words, base + NOTIFY_ME, 0) === 1) writeByte(words[base + WRITE_FD]! - 1)
}

/**
 * Puts a slot into its context's ring, unless it is there.
 *
 * @context any-thread; wait-free
 * @returns its flags before: with BH_PENDING when it is in the ring already, and nobody needs to be woken
 * @see aio_bh_enqueue
 */
export function enqueueSlot(base: number, slot: number, flags: number): number {
  const before = Atomics.or(words, base + FLAGS + slot, flags | BH_PENDING)
  if ((before & BH_PENDING) !== 0) return before
  const place = Atomics.add(words, base + RING_TAIL, 1) & (MAX_SLOTS - 1)
  Atomics.store(words, base + RING + place, slot + 1)
  return before
}
