/**
 * The coroutines of one thread that wait at a channel: at most one for bytes, and one for room.
 *
 * @see QIOChannel.read_coroutine, write_coroutine in QEMU
 */
import { scheduleOneshot } from '../aio/bottom-half.ts'
import { Coroutine, type CoroutineFn } from '../coroutine/coroutine.ts'
import { bugError } from '../errors/nbd-error.ts'
import type { IOCondition } from './channel.ts'

export class IOWaiters {
  readonly #waiting: Record<IOCondition, Coroutine<unknown> | undefined> = { in: undefined, out: undefined };

  /**
   * Suspends the current coroutine until `wake` is called for the same.
   *
   * @throws NBDError of kind `bug` outside a coroutine, or when another waits for the same
   */
  *wait(condition: IOCondition): CoroutineFn {
    const co = Coroutine.current
    if (!co) throw bugError('QIOChannel.yield outside a coroutine')
    if (this.#waiting[condition]) throw bugError(`two coroutines wait for '${condition}' of one channel`)
    this.#waiting[condition] = co
    while (this.#waiting[condition] === co) yield* Coroutine.yield()
  }

  /** As `wait`, for a channel that is always ready: up to the next round of the loop, so that others have their turn. */
  *waitTurn(condition: IOCondition): CoroutineFn {
    scheduleOneshot(() => this.wake(condition))
    yield* this.wait(condition)
  }

  /** Lets the coroutine that waits go on, if there is one. @context home-thread */
  wake(condition: IOCondition): void {
    const co = this.#waiting[condition]
    this.#waiting[condition] = undefined
    co?.wake()
  }

  /** As `wake`, by a bottom half of the coroutine's context. @context home-thread */
  wakeSoon(condition: IOCondition): void {
    const co = this.#waiting[condition]
    this.#waiting[condition] = undefined
    co?.schedule()
  }

  /** @context home-thread */
  wakeAll(): void {
    this.wake('in')
    this.wake('out')
  }
}
