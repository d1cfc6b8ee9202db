/**
 * Memory for payloads, by powers of two, one pool per thread. It begins at a page, as O_DIRECT wants it.
 *
 * What is given back is kept for the next request: as much as was in use a moment ago, because what is let go has to come from
 * the system again, and little when the thread is idle.
 */
import { Memory } from '../syscall/memory.ts'

const MIN_SHIFT = 12
/** Larger pieces are rare, and dear to keep. */
const MAX_KEPT_SHIFT = 22
const PAGE_SIZE = 4096
/** Smaller pieces are cut from one of these: each by itself would take up to a page more. */
const SLAB_SHIFT = 16
/** Bytes that the pool of an idle thread keeps. */
export const IDLE_KEPT = 16 * 1024 * 1024
/** A moment, in ms. */
const RECENT_MS = 500

const free: Memory[][] = []
let kept = 0
/** Bytes that were taken and not given back, and the most of late. */
let used = 0
let mostUsed = 0
let trimming: NodeJS.Timeout | undefined

const shiftFor = (size: number): number => Math.max(MIN_SHIFT, 32 - Math.clz32(Math.max(size, 1) - 1))

/** At least `size` bytes, up to 1 GiB; the contents are not defined. Give it back with `giveMemory`. */
export function takeMemory(size: number): Memory {
  const shift = shiftFor(size)
  const memory = takeKept(shift) ?? allocate(shift)
  used += memory.length
  mostUsed = Math.max(mostUsed, used)
  return memory
}

/** Only for what `takeMemory` gave, once, when nothing uses it any more. */
export function giveMemory(memory: Memory): void {
  used -= memory.length
  if (memory.length <= 2 ** MAX_KEPT_SHIFT) keep(memory)
  else memory.release()
  if (kept <= IDLE_KEPT) return
  trim(mostUsed)
  trimming ??= setTimeout(trimToRecent, RECENT_MS).unref()
}

/** Bytes that the thread's pool keeps now. */
export const keptMemory = (): number => kept

/** There is room for what was in use of late, and after another moment without that for little. */
function trimToRecent(): void {
  trim(mostUsed - used)
  mostUsed = used
  trimming = kept > IDLE_KEPT ? setTimeout(trimToRecent, RECENT_MS).unref() : undefined
}

/** Keeps no more than `most` bytes, or than an idle thread. */
function trim(most: number): void {
  // Large pieces first: of the small ones, some are cut from one that stays as long as any of them.
  for (let shift = MAX_KEPT_SHIFT; kept > Math.max(IDLE_KEPT, most) && shift >= MIN_SHIFT;) {
    const memory = takeKept(shift)
    if (memory) memory.release()
    else shift--
  }
}

function takeKept(shift: number): Memory | undefined {
  const memory = free[shift]?.pop()
  if (memory) kept -= memory.length
  return memory
}

function keep(memory: Memory): void {
  kept += memory.length
  ;(free[shiftFor(memory.length)] ??= []).push(memory)
}

function allocate(shift: number): Memory {
  const size = 2 ** shift
  if (shift >= SLAB_SHIFT) return Memory.allocate(size, PAGE_SIZE)
  const slab = Memory.allocate(2 ** SLAB_SHIFT, PAGE_SIZE)
  for (let at = size; at < slab.length; at += size) keep(slab.slice(at, size))
  return slab.slice(0, size)
}
