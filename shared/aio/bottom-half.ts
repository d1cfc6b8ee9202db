/**
 * A function that runs in its context's loop, soon, once for all the times that it was scheduled before it ran.
 *
 * @see QEMUBH in QEMU's util/async.c
 */
import { bugError } from '../errors/nbd-error.ts'
import { AioContext } from './aio-context.ts'
import { aioWaitWhile, aioWaitWhileSync } from './aio-wait.ts'
import {
  BH_PENDING,
  BH_SCHEDULED,
  BH_TAKEN_SHIFT,
  contextBase,
  contextOf,
  enqueueSlot,
  isLive,
  notify,
  RUNS,
  slotHandle,
  slotOf,
  slotWord,
  words,
  type BottomHalfHandle
} from './context-table.ts'

export type { BottomHalfHandle } from './context-table.ts'

/** Tells a bottom half that its device is busy; shared by all that must not be entered meanwhile. @see MemReentrancyGuard */
export interface ReentrancyGuard {
  engaged: boolean
}

export class BottomHalf {
  readonly #context: AioContext
  readonly #slot: number
  #deleted = false

  /**
   * @context the thread in which it is to run
   * @param guard it is engaged while the callback runs; when it is engaged already, the callback does not run
   * @see aio_bh_new, aio_bh_new_guarded
   */
  constructor(callback: () => void, guard?: ReentrancyGuard) {
    this.#context = AioContext.current()
    this.#slot = this.#context.allocateSlot(guard ? () => runGuarded(callback, guard) : callback)
  }

  /** Postable; lets any thread schedule it, by `scheduleRemote`. */
  get handle(): BottomHalfHandle {
    return slotHandle(this.#context.handle, this.#slot)
  }

  /** Runs in the next round; scheduling it again before that does nothing. @context home-thread @see qemu_bh_schedule */
  schedule(): void {
    this.#check()
    this.#context.scheduleSlot(this.#slot)
  }

  /** Runs within 10 ms; alone, it does not count as progress. @context home-thread @see qemu_bh_schedule_idle */
  scheduleIdle(): void {
    this.#check()
    this.#context.scheduleSlotIdle(this.#slot)
  }

  /** It does not run, unless it is scheduled anew. @context home-thread @see qemu_bh_cancel */
  cancel(): void {
    this.#check()
    this.#context.cancelSlot(this.#slot)
  }

  /** It will never run again; may be called in its own callback. @context home-thread @see qemu_bh_delete */
  delete(): void {
    if (this.#deleted) return
    this.#deleted = true
    this.#context.deleteSlot(this.#slot)
  }

  #check(): void {
    if (this.#deleted) throw bugError('a bottom half is used after it was deleted')
  }
}

function runGuarded(callback: () => void, guard: ReentrancyGuard): void {
  if (guard.engaged) return
  guard.engaged = true
  try {
    callback()
  } finally {
    guard.engaged = false
  }
}

/**
 * Schedules a bottom half of any thread. Wait-free. Does nothing when its context has ended.
 *
 * @context any-thread
 */
export function scheduleRemote(handle: BottomHalfHandle): void {
  schedule(handle)
}

/** @returns which of its runs will be the one that was asked for, as `hasRun` wants it */
function schedule(handle: BottomHalfHandle): number {
  const context = contextOf(handle)
  if (!isLive(context)) return 0
  const before = enqueueSlot(contextBase(context), slotOf(handle), BH_SCHEDULED)
  if ((before & BH_PENDING) === 0) notify(context)
  return (before >>> BH_TAKEN_SHIFT) + 1
}

/**
 * Whether a bottom half has ended its run number `run`. The numbers have 24 bits, and begin anew behind the last.
 *
 * @throws NBDError of kind `bug` when its context has ended: nobody knows
 */
function hasRun(handle: BottomHalfHandle, run: number): boolean {
  const ran = (Atomics.load(words, slotWord(RUNS, handle)) - run) << BH_TAKEN_SHIFT >= 0
  // After that look: the words may be those of a later context.
  if (!isLive(contextOf(handle))) throw bugError('the context of a bottom half has ended before it ran')
  return ran
}

/** Runs a function once, in the next round of the calling thread. @see aio_bh_schedule_oneshot */
export function scheduleOneshot(callback: () => void): void {
  const bh = new BottomHalf(() => {
    bh.delete()
    callback()
  })
  bh.schedule()
}

/**
 * Runs a function once in the next round of the calling thread, and resolves with its result; or schedules a bottom half
 * of any thread, and resolves when it has run (or was cancelled or deleted) since then.
 *
 * QEMU names a context and a function. A function cannot be posted: for another thread it is the handle of a bottom half
 * that was made there, or a named function and `IOThread.run`.
 *
 * @context any-thread
 * @throws NBDError of kind `bug` when the other thread's context ends before
 * @see aio_wait_bh_oneshot
 */
export function aioWaitBhOneshot(handle: BottomHalfHandle): Promise<void>
export function aioWaitBhOneshot<T>(callback: () => T): Promise<T>
export async function aioWaitBhOneshot<T>(what: BottomHalfHandle | (() => T)): Promise<T | void> {
  if (typeof what === 'number') {
    const run = schedule(what)
    return aioWaitWhile(() => !hasRun(what, run))
  }
  return new Promise<T>((resolve, reject) =>
    scheduleOneshot(() => {
      try {
        resolve(what())
      } catch (error) {
        reject(error instanceof Error ? error : new Error(String(error)))
      }
    })
  )
}

/**
 * As `aioWaitBhOneshot`, and the calling thread blocks until then.
 *
 * @param handle of a bottom half of another thread
 * @context a thread that may block
 * @throws NBDError of kind `bug` for one of the calling thread, which would never run; when the other thread's context
 *   ends before
 */
export function aioWaitBhOneshotSync(handle: BottomHalfHandle): void {
  if (contextOf(handle) === AioContext.current().handle)
    throw bugError('a thread cannot block until its own bottom half has run')
  const run = schedule(handle)
  aioWaitWhileSync(() => !hasRun(handle, run))
}
