/**
 * The requests of one thread that wait for something, each in a coroutine of its own, and the bound that holds for all
 * threads of the connection.
 *
 * @context the IOThread of its receive loop
 * @see nbd_trip, nbd_client_receive_next_request in QEMU's nbd/server.c
 */
import { BottomHalf } from '../../shared/aio/bottom-half.ts'
import { Coroutine, type CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { NBD_MAX_IN_FLIGHT_REQUESTS } from '../../shared/protocol/limits.ts'
import type { NBDRequest } from '../../shared/protocol/messages/request.ts'
import type { ConnectionState } from './connection-state.ts'
import { replyFailure } from './reply-failure.ts'
import type { Transmission } from './transmission.ts'

/** Of all connections of the thread. */
let inThread = 0

/** How many requests of this thread wait for something, whoever sent them. */
export const requestsWaiting = (): number => inThread

export class RequestsInFlight {
  readonly #transmission: Transmission
  readonly #state: ConnectionState
  #count = 0
  /** Waits for a request of this thread to end. */
  #waiting: Coroutine<unknown> | undefined
  /** Sends the replies of all that ended in one round of the loop together. */
  readonly #flush = new BottomHalf(() => this.#transmission.writer.flush())

  constructor(transmission: Transmission, state: ConnectionState) {
    this.#transmission = transmission
    this.#state = state
  }

  /** Of this thread. */
  get count(): number {
    return this.#count
  }

  /** Starts the coroutine of a request, which is in flight until it has been answered. @param bytes of payload */
  start(request: NBDRequest, bytes: number, command: CoroutineFn): void {
    this.#count++
    inThread++
    this.#state.begin(bytes)
    this.#transmission.exp.gate.enterAgain()
    Coroutine.create(() => this.#trip(request, bytes, command)).enter()
  }

  /** The connection may have no more in flight just now. */
  get isFull(): boolean {
    const { writer } = this.#transmission
    const state = this.#state
    // The other threads are taken to have as much to send as this one.
    return (
      writer.blocked ||
      state.requests >= NBD_MAX_IN_FLIGHT_REQUESTS ||
      state.bytes + writer.queuedBytes * state.parts >= state.maxBytes
    )
  }

  /** Returns when it may have more, or does not go on. */
  *waitForRoom(goesOn: () => boolean): CoroutineFn {
    const { writer } = this.#transmission
    const state = this.#state
    while (this.isFull && goesOn()) {
      writer.flush()
      if (writer.blocked) yield* writer.drain()
      else if (this.#count > 0 && this.isFull) yield* this.#waitForOne()
      else yield* state.room.waitWhile(() => this.isFull && state.requests > 0 && goesOn())
    }
  }

  /** Returns when none is left; none is started meanwhile. */
  *waitForAll(): CoroutineFn {
    while (this.#count > 0) yield* this.#waitForOne()
  }

  /** After the last. */
  delete(): void {
    this.#flush.delete()
  }

  *#waitForOne(): CoroutineFn {
    this.#waiting = Coroutine.current
    while (this.#waiting) yield* Coroutine.yield()
  }

  *#trip(request: NBDRequest, bytes: number, command: CoroutineFn): CoroutineFn {
    try {
      yield* command
    } catch (error) {
      replyFailure(this.#transmission, request, error)
    }
    this.#count--
    inThread--
    this.#state.done(bytes)
    this.#transmission.exp.gate.leave()
    this.#flush.schedule()
    const waiting = this.#waiting
    this.#waiting = undefined
    waiting?.wake()
  }
}
