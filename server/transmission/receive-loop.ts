/**
 * One thread's part in the transmission phase of a connection: takes all requests that a receive brought, serves what is
 * at hand on the spot, starts a coroutine for each of the others, and sends the replies that are ready together.
 *
 * A connection begins in one thread, and mostly stays there. When its requests are heavy, that is, keep the thread busy,
 * and come several at a time, other threads take part, and take turns to receive.
 *
 * @context an IOThread
 * @see nbd_trip in QEMU's nbd/server.c
 */
import type { CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { reason } from '../../shared/errors/system-error.ts'
import type { QIOChannel } from '../../shared/io/channel.ts'
import { QIOChannelSocket, type SocketHandle } from '../../shared/io/channel-socket.ts'
import { WOKEN, type WindowReader } from '../../shared/io/window-reader.ts'
import { log } from '../../shared/log/log.ts'
import type { Negotiated } from '../negotiation/option-context.ts'
import type { ConnectionState } from './connection-state.ts'
import { ReplyWriter } from './reply-writer.ts'
import { MAX_BATCH_MS, nextTurn, RequestBatch } from './request-batch.ts'
import { requestForm } from './request-form.ts'
import { MAX_GATHERING_MS, RequestGathering } from './request-gathering.ts'
import { RequestPolling } from './request-polling.ts'
import { RequestsInFlight } from './requests-in-flight.ts'
import type { Transmission } from './transmission.ts'
import { Turns, type Sharing } from './turns.ts'

const asError = (error: unknown): Error => (error instanceof Error ? error : new Error(String(error)))

export interface ReceiveLoopOptions {
  /** Other threads could take part. */
  mayShare?: boolean
  /** Tells that it would be good if they did. */
  onHelpWanted?: () => void
}

export class ReceiveLoop {
  readonly #channel: QIOChannel
  readonly #reader: WindowReader
  readonly #state: ConnectionState
  readonly #negotiated: Negotiated
  readonly #transmission: Transmission
  readonly #inFlight: RequestsInFlight
  readonly #batch: RequestBatch
  readonly #polling: RequestPolling
  readonly #gathering: RequestGathering
  #stopped = false
  #aborted = false
  #error: Error | undefined
  /** The error is what has ended the connection, and no consequence of another thread's. */
  #isFirst = false

  readonly #turns: Turns
  #beginSharing: { sharing: Sharing; resolve: (handle: SocketHandle) => void } | undefined
  /** Since when the others of this thread have not had their turn: a client that is quick enough never lets us wait. */
  #turnBegan = 0

  constructor(
    channel: QIOChannel,
    negotiated: Negotiated,
    state: ConnectionState,
    reader: WindowReader,
    options: ReceiveLoopOptions = {}
  ) {
    this.#channel = channel
    this.#negotiated = negotiated
    this.#state = state
    this.#reader = reader
    this.#turns = new Turns(state, reader, requestForm(negotiated.mode), () => options.onHelpWanted?.())
    const { exp, mode, contexts } = negotiated
    const writer = new ReplyWriter(channel, (error) => this.#fail(error))
    this.#transmission = { exp, mode, contexts, writer, isBroken: () => state.broken }
    this.#polling = new RequestPolling(reader)
    this.#gathering = new RequestGathering(reader)
    this.#inFlight = new RequestsInFlight(this.#transmission, state)
    this.#batch = new RequestBatch({
      transmission: this.#transmission,
      served: { size: exp.size, readOnly: exp.readOnly, mode, blockStatus: contexts.length > 0 },
      state,
      reader,
      turns: this.#turns,
      inFlight: this.#inFlight,
      mayShare: options.mayShare ?? false,
      goesOn: () => this.#goesOn
    })
  }

  get negotiated(): Negotiated {
    return this.#negotiated
  }

  /**
   * Serves until the client disconnects or `stop` is called, and then until every request of this thread is answered.
   *
   * @throws NBDError of kind `protocol` or `transport`, in one thread only; nothing of this thread is in flight any more
   */
  *run(): CoroutineFn {
    const { writer } = this.#transmission
    try {
      yield* this.#receive()
    } catch (error) {
      // Who is stopped in the middle of a request is at its end there.
      if (!this.#stopped) this.#fail(error)
    }
    this.#state.end()
    // The others, one by one, see that it has ended. After an abort they know, and the lock may be nobody's.
    if (!this.#aborted) this.#turns.end()
    yield* this.#inFlight.waitForAll()
    // A peer that broke the protocol is not waited for.
    if (this.#error === undefined) yield* writer.drain()
    this.#gathering.batchDone(false, this.#batch)
    this.#polling.batchDone(false)
    this.#inFlight.delete()
    this.#reader.delete()
    this.#beginSharing?.resolve({ fd: -1 })
    if (this.#error && this.#isFirst && !this.#stopped) throw this.#error
  }

  /** Receives nothing more. `run` then answers what was received, and returns. Must be called in all threads. */
  stop(): void {
    this.#stopped = true
    this.#reader.endReading()
  }

  /** Ends at once, whatever the client does; must be called in all threads of the connection. */
  abort(): void {
    this.#stopped = this.#aborted = true
    this.#state.break()
    this.#channel.shutdown('both')
    // Whoever has requests in flight, or one of the turns, may have died.
    this.#transmission.writer.abort()
    this.#state.room.restartAll()
    this.#turns.abort()
  }

  /**
   * Lets other threads take part from now on.
   *
   * @returns what one of them needs of the socket; a descriptor of -1 when the connection ends just now, or descriptors
   *   are scarce
   */
  share(sharing: Sharing): Promise<SocketHandle> {
    return new Promise((resolve) => {
      if (!this.#state.serving) {
        resolve({ fd: -1 })
        return
      }
      this.#beginSharing = { sharing, resolve }
      this.#channel.wakeRead()
    })
  }

  /** Takes part in a connection that another thread has begun; before `run`. */
  join(sharing: Sharing): void {
    this.#turns.join(sharing)
    this.#transmission.writer.share(this.#state.sendLock)
  }

  *#receive(): CoroutineFn {
    const { writer } = this.#transmission
    const { gate } = this.#negotiated.exp
    for (;;) {
      // What it has kept it serves, whatever the others have met.
      const hasShare = !this.#turns.here && this.#reader.hasUnread
      if (!hasShare && !this.#turns.here) {
        if (!this.#state.serving) return
        yield* this.#turns.take()
      }
      if (!this.#goesOn) return
      if (this.#beginSharing && this.#turns.here) yield* this.#startSharing()
      const { hasMore } = this.#reader
      const hadNoWait = hasMore || this.#polling.found || this.#gathering.found
      const most = this.#gathering.found ? MAX_GATHERING_MS : MAX_BATCH_MS
      if (hadNoWait && performance.now() - this.#turnBegan > most) {
        this.#reader.unread()
        yield* nextTurn()
        this.#turnBegan = performance.now()
      }
      if (!this.#gather() && !this.#polling.poll()) {
        const n = yield* this.#reader.receive(this.#turns.wantsAll)
        if (!hasMore) this.#turnBegan = performance.now()
        this.#polling.waited()
        if (n === 0) return
        if (n === WOKEN) continue
      }
      if (!gate.tryEnter()) {
        this.#reader.unread()
        yield* gate.untilOpen()
        continue
      }
      let pause: (() => CoroutineFn) | undefined
      try {
        pause = this.#takeBatch()
      } finally {
        gate.leave()
      }
      writer.flush()
      const isQuiet = pause === undefined && this.#isQuiet
      this.#gathering.batchDone(isQuiet, this.#batch)
      this.#polling.batchDone(isQuiet && this.#batch.requests === 1)
      if (pause) yield* pause()
    }
  }

  /** The last batch was all that there was, and nothing of it is left to be done. */
  get #isQuiet(): boolean {
    if (this.#inFlight.count > 0 || this.#turns.shared) return false
    const { window, canPoll } = this.#reader
    return canPoll && window.length === 0 && !this.#transmission.writer.blocked
  }

  /** What is there already is not slept for. */
  #gather(): boolean {
    return !this.#reader.hasMore && !this.#reader.hasUnread && this.#gathering.gather()
  }

  /** Ends the connection in all threads. Those that only see its end have nothing to tell. */
  #fail(error: unknown): void {
    if (this.#error) return
    this.#error = asError(error)
    this.#isFirst = this.#state.break()
    this.#channel.shutdown('both')
  }

  /** Requests are taken: while the connection is served, and of a share until it is broken. */
  get #goesOn(): boolean {
    if (this.#error) return false
    return this.#turns.here ? this.#state.serving : !this.#state.broken
  }

  /** @returns what must be waited for before the next receive; until that is called the window is still ours */
  #takeBatch(): (() => CoroutineFn) | undefined {
    let pause: (() => CoroutineFn) | undefined
    try {
      pause = this.#batch.take()
    } catch (error) {
      this.#fail(error)
    }
    // The window is the thread's: what is not taken any more must not be there for another connection.
    if (!this.#goesOn) this.#reader.window.clear()
    return pause
  }

  /** The first thread's side of `share`: what it has taken so far is sent, and from then on there are turns. */
  *#startSharing(): CoroutineFn {
    const { sharing, resolve } = this.#beginSharing!
    const channel = this.#channel as QIOChannelSocket
    if (!this.#turns.shared) {
      this.#reader.unread()
      yield* this.#turns.begin(sharing)
      channel.setFollowCoroutineCtx(true)
      yield* this.#transmission.writer.beginSharing(this.#state.sendLock)
    }
    this.#beginSharing = undefined
    let handle: SocketHandle = { fd: -1 }
    try {
      handle = channel.handle()
    } catch (error) {
      log.warn({ err: error }, `no further thread takes part in a connection: ${reason(error)}`)
    }
    resolve(handle)
  }
}
