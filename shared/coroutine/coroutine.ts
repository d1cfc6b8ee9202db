/**
 * Coroutines: functions that can stop in the middle and be entered again, by whoever finds that there is something to do.
 *
 * A coroutine function is a generator function, called with `yield*`, as QEMU's are marked `coroutine_fn`. So entering a
 * coroutine is a direct transfer: when `enter` returns, it has run until it yielded or ended, and `Coroutine.current` is
 * right in every function that it calls. (An async function continues in a microtask, and knows its coroutine in its
 * outermost frame only; AsyncLocalStorage, which would know, makes each promise of the thread three times as dear on
 * Node 20 and 22.)
 *
 * A coroutine belongs for life to the context of the thread that created it: JavaScript cannot take a running function
 * to another thread. From there it is woken by its handle.
 *
 * @see QEMU include/qemu/coroutine.h, util/qemu-coroutine.c
 */
import { AioContext } from '../aio/aio-context.ts'
import { BottomHalf, type BottomHalfHandle } from '../aio/bottom-half.ts'
import { bugError } from '../errors/nbd-error.ts'

/** What a coroutine function returns to `yield*`. */
export type CoroutineFn<T = void> = Generator<void, T, void>

/** A coroutine as another thread knows it: postable. */
export type CoroutineHandle = BottomHalfHandle

let current: Coroutine<unknown> | undefined

const FINISHED: IteratorReturnResult<unknown> = { done: true, value: undefined }

/**
 * What a coroutine function returns that had not to wait: costs nothing, where a generator costs more than most locks.
 * Whoever uses it is a plain function that returns either this or a generator.
 */
export const coDone = {
  [Symbol.iterator]: () => coDone,
  next: () => FINISHED
} as CoroutineFn

/** Those of this thread that have a handle. */
const byHandle = new Map<CoroutineHandle, Coroutine<unknown>>()

interface PromiseWithResolvers {
  promise: Promise<unknown>
  resolve(result: unknown): void
  reject(error: unknown): void
}

function promiseWithResolvers(): PromiseWithResolvers {
  let resolve!: (result: unknown) => void
  let reject!: (error: unknown) => void
  const promise = new Promise((...settle) => ([resolve, reject] = settle))
  return { promise, resolve, reject }
}

export class Coroutine<T = void> {
  /** Where it runs. @see qemu_coroutine_get_aio_context */
  readonly ctx = AioContext.current()
  readonly #entry: () => CoroutineFn<T>
  #generator: CoroutineFn<T> | undefined
  #entered = false
  #ended = false
  /** What it has returned. Of `unknown`, as what follows, so that any coroutine is a Coroutine<unknown>. */
  #result: unknown
  /** Exists when somebody has asked for it, or it has failed. */
  #finished: PromiseWithResolvers | undefined
  /** Woken by this coroutine while it ran; they are entered when it has yielded. @see co_queue_wakeup */
  #wakeUps: Coroutine<unknown>[] | undefined
  #bh: BottomHalf | undefined

  private constructor(entry: () => CoroutineFn<T>) {
    this.#entry = entry
  }

  /** Not yet running. @context the thread that is to be its home @see qemu_coroutine_create */
  static create<T>(entry: () => CoroutineFn<T>): Coroutine<T> {
    return new Coroutine(entry)
  }

  /** Creates a coroutine and enters it. @returns what it ends with */
  static start<T>(entry: () => CoroutineFn<T>): Promise<T> {
    const co = new Coroutine(entry)
    co.enter()
    return co.finished
  }

  /** The coroutine that is running in this thread. @see qemu_coroutine_self, qemu_in_coroutine */
  static get current(): Coroutine<unknown> | undefined {
    return current
  }

  /** Gives control back to whoever entered the current coroutine, until it is entered again. @see qemu_coroutine_yield */
  static *yield(): CoroutineFn {
    if (!current) throw bugError('yield outside a coroutine')
    yield
  }

  /** Whether it runs, or has entered the one that runs. @see qemu_coroutine_entered */
  get entered(): boolean {
    return this.#entered
  }

  get ended(): boolean {
    return this.#ended
  }

  /**
   * Settles with what the function returned or threw.
   *
   * What it throws is never lost: if nobody has asked for this promise by the time that the turn of the loop ends, or
   * nobody handles its rejection, that is an unhandled rejection, as of an async function that nobody awaits; it ends the
   * thread.
   */
  get finished(): Promise<T> {
    if (!this.#finished) {
      this.#finished = promiseWithResolvers()
      if (this.#ended) this.#finished.resolve(this.#result)
    }
    return this.#finished.promise as Promise<T>
  }

  /** Lets any thread wake it, by `aioCoWake`. Ends with the coroutine. */
  get handle(): CoroutineHandle {
    if (!this.#bh) this.#makeHandle()
    return this.#bh!.handle
  }

  /** The coroutine of this thread that has the handle. */
  static find(handle: CoroutineHandle): Coroutine<unknown> | undefined {
    return byHandle.get(handle)
  }

  /**
   * Transfers control to it; returns when it yields or ends, and all that it woke have run, too.
   *
   * @context home-thread
   * @throws NBDError of kind `bug` when it runs already or has ended
   * @see qemu_aio_coroutine_enter
   */
  enter(): void {
    this.#run()
    const pending = this.#wakeUps
    if (!pending) return
    this.#wakeUps = undefined
    // Whoever is woken is entered in this loop, not from within its waker: chains of any length need no stack.
    for (let next = 0; next < pending.length; next++) {
      const co = pending[next]!
      co.#runWoken()
      const more = co.#wakeUps
      if (more) {
        co.#wakeUps = undefined
        for (const woken of more) pending.push(woken)
      }
      if (next >= 1024) {
        pending.splice(0, next + 1)
        next = -1
      }
    }
  }

  /** Enters it unless it runs already. @see qemu_coroutine_enter_if_inactive */
  enterIfInactive(): void {
    if (!this.#entered) this.enter()
  }

  /** Enters it when the current coroutine, if there is one, has yielded. @see aio_co_enter */
  wake(): void {
    if (!current) this.enter()
    else if (current.#wakeUps) current.#wakeUps.push(this)
    else current.#wakeUps = [this]
  }

  /** Enters it in the next round of the loop. @see aio_co_schedule */
  schedule(): void {
    if (!this.#bh) this.#makeHandle()
    this.#bh!.schedule()
  }

  #makeHandle(): void {
    if (this.#ended) throw bugError('a coroutine is scheduled after it has ended')
    this.#bh = new BottomHalf(() => this.enter())
    byHandle.set(this.#bh.handle, this)
  }

  /** A wake-up that comes too late is a fault, which must not cost the others theirs. */
  #runWoken(): void {
    try {
      this.#run()
    } catch (error) {
      queueMicrotask(() => {
        throw error
      })
    }
  }

  #run(): void {
    if (this.#ended) throw bugError('a coroutine is entered after it has ended')
    if (this.#entered) throw bugError('a coroutine is entered while it runs')
    const caller = current
    // eslint-disable-next-line @typescript-eslint/no-this-alias -- that is what "current" means
    current = this
    this.#entered = true
    try {
      this.#generator ??= this.#entry()
      const { done, value } = this.#generator.next()
      if (done) {
        this.#end()
        this.#result = value
        this.#finished?.resolve(value)
      }
    } catch (error) {
      this.#end()
      // Made now at the latest, so that Node reports the error when nobody handles it.
      this.#finished ??= promiseWithResolvers()
      this.#finished.reject(error)
    } finally {
      this.#entered = false
      current = caller
    }
  }

  #end(): void {
    this.#ended = true
    this.#generator = undefined
    if (!this.#bh) return
    byHandle.delete(this.#bh.handle)
    this.#bh.delete()
  }
}
