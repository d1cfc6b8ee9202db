/**
 * Sleeping in a coroutine, and giving up on one.
 *
 * @see util/qemu-coroutine-sleep.c, util/qemu-co-timeout.c
 */
import { clockNs, Timer, type Clock } from '../aio/timer.ts'
import { bugError } from '../errors/nbd-error.ts'
import { Coroutine, type CoroutineFn } from './coroutine.ts'

/** A sleep that can be ended early. @see QemuCoSleep */
export class CoSleep {
  #sleeper: Coroutine<unknown> | undefined;

  /** Sleeps until the time has passed, or somebody calls `wake`. @see qemu_co_sleep_ns_wakeable */
  *sleep(clock: Clock, ns: number): CoroutineFn {
    const co = Coroutine.current
    if (!co) throw bugError('sleep outside a coroutine')
    if (this.#sleeper) throw bugError('two coroutines sleep in one CoSleep')
    const timer = new Timer(clock, () => this.wake())
    this.#sleeper = co
    timer.arm(clockNs(clock) + ns)
    while (this.#sleeper) yield* Coroutine.yield()
    timer.cancel()
  }

  /** Ends the sleep, if there is one. @context home-thread @see qemu_co_sleep_wake */
  wake(): void {
    const co = this.#sleeper
    this.#sleeper = undefined
    co?.wake()
  }
}

/** @see qemu_co_sleep_ns */
export const coSleep = (clock: Clock, ns: number): CoroutineFn => new CoSleep().sleep(clock, ns)

/** What `coTimeout` returns when the time was up first. */
export const TIMED_OUT = Symbol('timed out')

/**
 * Runs a coroutine function in a coroutine of its own, and waits for it up to a time. When that is up the function goes
 * on, and what it ends with is given to `clean`.
 *
 * @param ns 0 waits for ever
 * @see qemu_co_timeout
 */
export function* coTimeout<T>(
  entry: () => CoroutineFn<T>,
  ns: number,
  clean?: () => void
): CoroutineFn<T | typeof TIMED_OUT> {
  const sleep = new CoSleep()
  let outcome: { value: T } | { error: unknown } | undefined
  let late = false
  const body = Coroutine.create(function* (): CoroutineFn {
    try {
      outcome = { value: yield* entry() }
    } catch (error) {
      outcome = { error }
    }
    if (late) clean?.()
    else sleep.wake()
  })
  body.enter()
  if (!outcome) yield* sleep.sleep('monotonic', ns === 0 ? Number.MAX_SAFE_INTEGER : ns)
  if (!outcome) {
    late = true
    return TIMED_OUT
  }
  if ('error' in outcome) throw outcome.error
  return outcome.value
}
