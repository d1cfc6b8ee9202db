/**
 * Which payloads of large WRITEs are received, where many connections of a thread have one on its way: a few at a time.
 *
 * A socket holds but a part of a large payload. Each connection would have memory for the whole, and fill it bit by bit; one
 * after the other they need less memory, and the same one again, which the processor still has in its cache. Nobody waits for
 * long: the turn of a client that is slow counts for a short time, and however many such clients there are, whoever has waited
 * long enough goes on.
 *
 * @context its thread
 */
import { clockNs } from '../../shared/aio/timer.ts'
import { CoSleep } from '../../shared/coroutine/co-sleep.ts'
import type { CoroutineFn } from '../../shared/coroutine/coroutine.ts'

/** Bytes that the thread has memory for at the same time, of payloads that come without delay. */
export const MAX_RECEIVING = 12 * 1024 * 1024
/** How long a turn counts. */
const TURN_NS = 100_000_000
/** How long one is waited for at the most. */
const MAX_WAIT_NS = 1_000_000_000

/** Memory for one payload. */
export interface PayloadTurn {
  readonly length: number
  /** In ns. */
  readonly since: number
}

export class PayloadTurns {
  /** Those that count, the oldest first. */
  readonly #turns = new Set<PayloadTurn>()
  #bytes = 0
  readonly #waiting: CoSleep[] = []

  /** @returns undefined when others are to be waited for first, by `wait` */
  begin(length: number): PayloadTurn | undefined {
    return this.#waiting.length === 0 && this.#fits(length) ? this.#add(length) : undefined
  }

  /** Waits for a turn: until others have ended, or have taken their time. */
  *wait(length: number): CoroutineFn<PayloadTurn> {
    const sleep = new CoSleep()
    const most = clockNs('monotonic') + MAX_WAIT_NS
    this.#waiting.push(sleep)
    // Who came before has waited longer, and wakes this one.
    while (this.#waiting[0] !== sleep) yield* sleep.sleep('monotonic', Number.MAX_SAFE_INTEGER)
    for (;;) {
      const left = most - clockNs('monotonic')
      if (left <= 0 || this.#fits(length)) break
      yield* sleep.sleep('monotonic', Math.min(this.#untilExpiry(), left))
    }
    this.#waiting.shift()
    this.#waiting[0]?.wake()
    return this.#add(length)
  }

  /** The payload is there, or will never be. */
  end(turn: PayloadTurn): void {
    if (!this.#turns.delete(turn)) return
    this.#bytes -= turn.length
    this.#waiting[0]?.wake()
  }

  #add(length: number): PayloadTurn {
    const turn = { length, since: clockNs('monotonic') }
    this.#turns.add(turn)
    this.#bytes += length
    return turn
  }

  #fits(length: number): boolean {
    for (const turn of this.#turns) {
      if (this.#bytes + length <= MAX_RECEIVING || this.#untilExpiry() > 0) break
      this.#turns.delete(turn)
      this.#bytes -= turn.length
    }
    return this.#bytes === 0 || this.#bytes + length <= MAX_RECEIVING
  }

  /** Of the oldest turn, in ns. */
  #untilExpiry(): number {
    const [oldest] = this.#turns
    return oldest ? Math.max(oldest.since + TURN_NS - clockNs('monotonic'), 0) : 0
  }
}

let turns: PayloadTurns | undefined

/** Those of the calling thread. */
export const payloadTurns = (): PayloadTurns => (turns ??= new PayloadTurns())
