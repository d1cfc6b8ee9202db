/**
 * Waking coroutines, under the names that QEMU gives it.
 *
 * @see include/block/aio.h: aio_co_schedule, aio_co_wake, aio_co_enter, aio_co_reschedule_self
 */
import { AioContext } from '../aio/aio-context.ts'
import { scheduleRemote } from '../aio/bottom-half.ts'
import { contextOf, type AioContextHandle } from '../aio/context-table.ts'
import { bugError } from '../errors/nbd-error.ts'
import { Coroutine, type CoroutineFn, type CoroutineHandle } from './coroutine.ts'

/** A coroutine: of this thread, or of any by its handle. */
type AnyCoroutine = Coroutine<unknown> | CoroutineHandle
/** A context: of this thread, or of any by its handle. */
type AnyContext = AioContext | AioContextHandle

/**
 * Enters a coroutine in its own context. In its own thread that is at once, or, from within a coroutine, when that one has
 * yielded; from another thread it is entered in the next round of its loop, and must not be woken a second time before.
 *
 * Safe before it has yielded: a coroutine that is woken while it is about to yield does not miss it.
 *
 * @context any-thread
 * @see aio_co_wake
 */
export function aioCoWake(co: AnyCoroutine): void {
  if (typeof co !== 'number') co.wake()
  else if (contextOf(co) !== AioContext.current().handle) scheduleRemote(co)
  // One that has ended is woken in vain, as from another thread.
  else Coroutine.find(co)?.wake()
}

/** As `aioCoWake`; the context must be the coroutine's own. @context any-thread @see aio_co_enter */
export function aioCoEnter(ctx: AnyContext, co: AnyCoroutine): void {
  checkHome(ctx, co, 'entered')
  aioCoWake(co)
}

/**
 * Enters a coroutine in the next round of its context.
 *
 * QEMU moves the coroutine to any context by this. JavaScript cannot: `ctx` must be its own. What is to run in another
 * thread is started there by its name, with `IOThread.run`.
 *
 * @context any-thread
 * @see aio_co_schedule
 */
export function aioCoSchedule(ctx: AnyContext, co: AnyCoroutine): void {
  checkHome(ctx, co, 'scheduled')
  if (typeof co === 'number') scheduleRemote(co)
  else co.schedule()
}

function checkHome(ctx: AnyContext, co: AnyCoroutine, what: string): void {
  const context = typeof ctx === 'number' ? ctx : ctx.handle
  const home = typeof co === 'number' ? contextOf(co) : co.ctx.handle
  if (context !== home) throw bugError(`a coroutine can be ${what} in its own context only`)
}

/** Goes on in another context: nothing to do when it is the own one, and impossible otherwise. */
export function aioCoRescheduleSelf(ctx: AioContext): void {
  if (ctx !== Coroutine.current?.ctx) throw bugError('a running coroutine cannot move to another thread')
}

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
