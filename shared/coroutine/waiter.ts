/**
 * A coroutine that waits for something in shared memory, as other threads see it: a handle, a link to the next in the same
 * list, and what it waits for. All of them lie in the table of contexts, so that a list needs memory for its ends only.
 *
 * A coroutine waits in one list at a time.
 *
 * @see CoWaitRecord in QEMU's util/qemu-coroutine-lock.c
 */
import { NEXT, slotWord, WAITS, words } from '../aio/context-table.ts'
import { bugError } from '../errors/nbd-error.ts'
import { aioCoWake } from './aio-co.ts'
import { Coroutine, type CoroutineFn, type CoroutineHandle } from './coroutine.ts'

/** No waiter. */
export const NOBODY = 0

/** What a waiter waits for. 0 is nothing: it may go on. */
export const WAITS_FOR_TURN = 1
export const WAITS_TO_READ = 2
export const WAITS_TO_WRITE = 3

/** Marks the current coroutine as waiting; then it goes into a list, and then it calls `untilGranted`, or `grantSelf`. */
export function becomeWaiter(what: number): CoroutineHandle {
  const co = Coroutine.current
  if (!co) throw bugError('only a coroutine can wait')
  const { handle } = co
  Atomics.store(words, slotWord(WAITS, handle), what)
  return handle
}

/**
 * Suspends the current coroutine until it has been granted what it waits for.
 *
 * It suspends even if that has happened by now: whoever grants is going to wake it, and must not find it elsewhere, or
 * ended.
 */
export function* untilGranted(handle: CoroutineHandle): CoroutineFn {
  const word = slotWord(WAITS, handle)
  const { ctx } = Coroutine.current!
  ctx.ref()
  try {
    do yield* Coroutine.yield()
    while (Atomics.load(words, word) !== 0)
  } finally {
    ctx.unref()
  }
}

/** What a waiter in some list waits for. */
export const waitsFor = (handle: CoroutineHandle): number => Atomics.load(words, slotWord(WAITS, handle))

/** The current coroutine has got what it waited for after all, by itself. */
export const grantSelf = (handle: CoroutineHandle): void => {
  Atomics.store(words, slotWord(WAITS, handle), 0)
}

/** Lets a waiter go on that was taken out of its list. @context any-thread */
export function grant(handle: CoroutineHandle): void {
  Atomics.store(words, slotWord(WAITS, handle), 0)
  aioCoWake(handle)
}

export const nextWaiter = (handle: CoroutineHandle): number => Atomics.load(words, slotWord(NEXT, handle))

export const linkWaiter = (handle: CoroutineHandle, next: number): void => {
  Atomics.store(words, slotWord(NEXT, handle), next)
}
