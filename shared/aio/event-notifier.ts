/**
 * Something that any thread can set, and that runs a handler in its context, once for each time that it was set and
 * found set.
 *
 * @see EventNotifier in QEMU, aio_set_event_notifier
 */
import { BottomHalf, scheduleRemote, type BottomHalfHandle } from './bottom-half.ts'

export class EventNotifier {
  readonly #bh: BottomHalf

  /** @context the thread in which the handler is to run */
  constructor(handler: () => void) {
    this.#bh = new BottomHalf(handler)
  }

  /** Postable; lets any thread set it, by `setRemote`. */
  get handle(): BottomHalfHandle {
    return this.#bh.handle
  }

  /** @context home-thread @see event_notifier_set */
  set(): void {
    this.#bh.schedule()
  }

  /** Takes the set state back before the handler has seen it. @context home-thread @see event_notifier_test_and_clear */
  clear(): void {
    this.#bh.cancel()
  }

  /** The handler will not run again. @context home-thread */
  remove(): void {
    this.#bh.delete()
  }
}

/** Sets a notifier of any thread. @context any-thread */
export const setRemote = (handle: BottomHalfHandle): void => scheduleRemote(handle)
