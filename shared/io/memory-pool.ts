/**
 * Memory for payloads, by powers of two, one pool per thread. It begins at a page, as O_DIRECT wants it.
 *
 * What is given back is kept for the next request up to a bound; an idle thread keeps at most that much.
 */
import { Memory } from '../syscall/memory.ts'

const MIN_SHIFT = 12
/** Larger pieces are rare, and dear to keep. */
const MAX_KEPT_SHIFT = 22
const PAGE_SIZE = 4096
/** Smaller pieces are cut from one of these: each by itself would take up to a page more. */
const SLAB_SHIFT = 16
/** Bytes that the pool of one thread keeps. */
const MAX_KEPT = 16 * 1024 * 1024

const free: Memory[][] = []
let kept = 0

const shiftFor = (size: number): number => Math.max(MIN_SHIFT, 32 - Math.clz32(Math.max(size, 1) - 1))

/** At least `size` bytes, up to 1 GiB; the contents are not defined. Give it back with `giveMemory`. */
export function takeMemory(size: number): Memory {
  const shift = shiftFor(size)
  const memory = free[shift]?.pop()
  if (!memory) return shift < SLAB_SHIFT ? cutSlab(2 ** shift) : Memory.allocate(2 ** shift, PAGE_SIZE)
  kept -= memory.length
  return memory
}

/** @returns one piece; the others are kept */
function cutSlab(size: number): Memory {
  const slab = Memory.allocate(2 ** SLAB_SHIFT, PAGE_SIZE)
  for (let at = size; at < slab.length; at += size) giveMemory(slab.slice(at, size))
  return slab.slice(0, size)
}

/** Only for what `takeMemory` gave, once, when nothing uses it any more. */
export function giveMemory(memory: Memory): void {
  const shift = shiftFor(memory.length)
  if (shift > MAX_KEPT_SHIFT || kept + memory.length > MAX_KEPT) return
  kept += memory.length
  ;(free[shift] ??= []).push(memory)
}
