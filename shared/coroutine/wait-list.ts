/** A list of waiters of any threads, in order; its user guards it by a QemuMutex. */
import type { CoroutineHandle } from './coroutine.ts'
import { linkWaiter, nextWaiter, NOBODY } from './waiter.ts'

const HEAD = 0
const TAIL = 1
export const WAIT_LIST_WORDS = 2

export class WaitList {
  readonly #words: Int32Array
  readonly #at: number

  /**
   * @param words of shared memory, 0 at first
   * @param at of its WAIT_LIST_WORDS words among them
   */
  constructor(words: Int32Array, at: number) {
    this.#words = words
    this.#at = at
  }

  /** The longest waiter. */
  get first(): CoroutineHandle | undefined {
    const head = Atomics.load(this.#words, this.#at + HEAD)
    return head === NOBODY ? undefined : (head as CoroutineHandle)
  }

  append(waiter: CoroutineHandle): void {
    linkWaiter(waiter, NOBODY)
    const tail = Atomics.load(this.#words, this.#at + TAIL)
    if (tail === NOBODY) Atomics.store(this.#words, this.#at + HEAD, waiter)
    else linkWaiter(tail as CoroutineHandle, waiter)
    Atomics.store(this.#words, this.#at + TAIL, waiter)
  }

  prepend(waiter: CoroutineHandle): void {
    const head = Atomics.load(this.#words, this.#at + HEAD)
    linkWaiter(waiter, head)
    Atomics.store(this.#words, this.#at + HEAD, waiter)
    if (head === NOBODY) Atomics.store(this.#words, this.#at + TAIL, waiter)
  }

  /** Takes the longest waiter out. */
  shift(): CoroutineHandle | undefined {
    const { first } = this
    if (first === undefined) return undefined
    const next = nextWaiter(first)
    Atomics.store(this.#words, this.#at + HEAD, next)
    if (next === NOBODY) Atomics.store(this.#words, this.#at + TAIL, NOBODY)
    return first
  }
}
