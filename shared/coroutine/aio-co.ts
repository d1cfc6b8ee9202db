/**
 * Waking coroutines, under the names that QEMU gives it.
 *
 * @see include/block/aio.h: aio_co_schedule, aio_co_wake, aio_co_enter, aio_co_reschedule_self
 */
import { AioContext } from '../aio/aio-context.ts'
import { scheduleRemote } from '../aio/bottom-half.ts'
import { bugError } from '../errors/nbd-error.ts'
import { Coroutine, type CoroutineFn, type CoroutineHandle } from './coroutine.ts'

/**
 * Enters a coroutine of this thread: at once, or, from within a coroutine, when that one has yielded.
 *
 * @context the coroutine's home thread; others use `aioCoWakeRemote`
 */
export const aioCoWake = (co: Coroutine<unknown>): void => co.wake()

/** As `aioCoWake`; the context must be the coroutine's own. */
export function aioCoEnter(ctx: AioContext, co: Coroutine<unknown>): void {
  if (ctx !== co.ctx) throw bugError('a coroutine can be entered in its own context only')
  co.wake()
}

/**
 * Enters a coroutine in the next round of its context.
 *
 * QEMU moves the coroutine to any context by this. JavaScript cannot: `ctx` must be its own. What is to run in another
 * thread is started there by its name, with `IOThread.run`.
 */
export function aioCoSchedule(ctx: AioContext, co: Coroutine<unknown>): void {
  if (ctx !== co.ctx) throw bugError('a coroutine can be scheduled in its own context only')
  co.schedule()
}

/** Goes on in another context: nothing to do when it is the own one, and impossible otherwise. */
export function aioCoRescheduleSelf(ctx: AioContext): void {
  if (ctx !== Coroutine.current?.ctx) throw bugError('a running coroutine cannot move to another thread')
}

/**
 * Wakes a coroutine of any thread; it is entered there, in the next round. Safe before it has yielded; must not be
 * called a second time before it has run.
 *
 * @context any-thread
 */
export const aioCoWakeRemote = (handle: CoroutineHandle): void => scheduleRemote(handle)

/** Waits for a promise in a coroutine; what it rejects with is thrown here. */
export function* coAwait<T>(promise: Promise<T>): CoroutineFn<T> {
  const co = Coroutine.current
  if (!co) throw bugError('coAwait outside a coroutine')
  let outcome: { value: T } | { error: unknown } | undefined
  promise.then(
    (value) => {
      outcome = { value }
      co.wake()
    },
    (error: unknown) => {
      outcome = { error }
      co.wake()
    }
  )
  // Somebody else may enter it meanwhile; it is not done before the promise is.
  while (!outcome) yield* Coroutine.yield()
  if ('error' in outcome) throw outcome.error
  return outcome.value
}
