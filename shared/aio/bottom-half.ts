/**
 * A function that runs in its context's loop, soon, once for all the times that it was scheduled before it ran.
 *
 * @see QEMUBH in QEMU's util/async.c
 */
import { bugError } from '../errors/nbd-error.ts'
import { AioContext } from './aio-context.ts'
import { BH_SCHEDULED, contextWords, enqueueSlot, notify, type AioContextHandle } from './context-memory.ts'

/** A bottom half as another thread knows it: postable. Not to be used after `delete`. */
export interface BottomHalfHandle {
  context: AioContextHandle
  slot: number
}

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
    return { context: this.#context.handle, slot: this.#slot }
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
 * Schedules a bottom half of any thread. Wait-free.
 *
 * @context any-thread
 */
export function scheduleRemote({ context, slot }: BottomHalfHandle): void {
  const words = contextWords(context.memory)
  if (enqueueSlot(words, slot, BH_SCHEDULED)) notify(words, context.notifyFd)
}

/** Runs a function once, in the next round of the calling thread. @see aio_bh_schedule_oneshot */
export function scheduleOneshot(callback: () => void): void {
  const bh = new BottomHalf(() => {
    bh.delete()
    callback()
  })
  bh.schedule()
}

/** Runs a function once, in the next round, and resolves with its result. @see aio_wait_bh_oneshot */
export const aioWaitBhOneshot = <T>(callback: () => T): Promise<T> =>
  new Promise((resolve, reject) =>
    scheduleOneshot(() => {
      try {
        resolve(callback())
      } catch (error) {
        reject(error instanceof Error ? error : new Error(String(error)))
      }
    })
  )
