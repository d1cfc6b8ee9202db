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
import { BottomHalf } from '../../shared/aio/bottom-half.ts'
import { Coroutine, type CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { NBDError, protocolError } from '../../shared/errors/nbd-error.ts'
import { errnoOf, reason } from '../../shared/errors/system-error.ts'
import type { QIOChannel } from '../../shared/io/channel.ts'
import { QIOChannelSocket, type SocketHandle } from '../../shared/io/channel-socket.ts'
import { giveMemory, takeMemory } from '../../shared/io/memory-pool.ts'
import { WindowReader, WOKEN } from '../../shared/io/window-reader.ts'
import { currentProperties } from '../../shared/iothread/current-properties.ts'
import { log } from '../../shared/log/log.ts'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_CACHE,
  NBD_CMD_DISC,
  NBD_CMD_FLAG_DF,
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_REQUEST_MAGIC
} from '../../shared/protocol/constants.ts'
import { nbdErrno } from '../../shared/protocol/errno-map.ts'
import {
  NBD_MAX_BUFFER_SIZE,
  NBD_MAX_DRAIN_SIZE,
  NBD_MAX_IN_FLIGHT_REQUESTS
} from '../../shared/protocol/limits.ts'
import { nbdCmdLookup } from '../../shared/protocol/lookup.ts'
import {
  decodeRequest,
  NBD_REQUEST_SIZE,
  newRequest,
  type NBDRequest
} from '../../shared/protocol/messages/request.ts'
import { EIO } from '../../shared/syscall/libc.ts'
import { NBD_MODE_STRUCTURED } from '../negotiation/nbd-mode.ts'
import type { Negotiated } from '../negotiation/option-context.ts'
import { cmdBlockStatus } from './cmd-block-status.ts'
import { cmdCache } from './cmd-cache.ts'
import { cmdFlush } from './cmd-flush.ts'
import { cmdRead } from './cmd-read.ts'
import { cmdTrim } from './cmd-trim.ts'
import { cmdWrite, cmdWriteNowait } from './cmd-write.ts'
import { cmdWriteZeroes } from './cmd-write-zeroes.ts'
import type { ConnectionState } from './connection-state.ts'
import { countBatch } from './thread-counters.ts'
import { replyError } from './reply.ts'
import { ReplyWriter } from './reply-writer.ts'
import type { Transmission } from './transmission.ts'
import { Turns, type Sharing } from './turns.ts'
import { validateRequest, type Served } from './validate-request.ts'

/** Commands without payload whose work always goes through a coroutine. */
const commands = new Map<number, (transmission: Transmission, request: NBDRequest) => CoroutineFn>([
  [NBD_CMD_FLUSH, cmdFlush],
  [NBD_CMD_TRIM, cmdTrim],
  [NBD_CMD_CACHE, cmdCache],
  [NBD_CMD_WRITE_ZEROES, cmdWriteZeroes],
  [NBD_CMD_BLOCK_STATUS, cmdBlockStatus]
])

/** How long one batch keeps the other connections of its thread waiting, in ms; and how many requests go by unlooked at. */
const MAX_BATCH_MS = 2
const LOOK_EVERY = 8
const asError = (error: unknown): Error => (error instanceof Error ? error : new Error(String(error)))

/** Until the thread's loop has turned: sockets and bottom halves come first. */
function* nextTurn(): CoroutineFn {
  Coroutine.current!.schedule()
  yield* Coroutine.yield()
}

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
  readonly #served: Served
  readonly #options: ReceiveLoopOptions
  /** The request that is being looked at; whoever outlives the look has copied it. */
  readonly #request = newRequest()
  /** Of this thread. */
  #inFlight = 0
  #stopped = false
  #aborted = false
  #error: Error | undefined
  /** The error is what has ended the connection, and no consequence of another thread's. */
  #isFirst = false
  /** The loop waits for a request of this thread to end. */
  #room: Coroutine<unknown> | undefined
  /** Sends the replies of all that ended in one round of the loop together. */
  readonly #flush = new BottomHalf(() => this.#transmission.writer.flush())

  readonly #turns: Turns
  #beginSharing: { sharing: Sharing; resolve: (handle: SocketHandle) => void } | undefined
  /** Since when the others of this thread have not had their turn: a client that is quick enough never lets us wait. */
  #turnBegan = 0
  // Of the batch that is being taken:
  #batchBegan = 0
  #batchRequests = 0
  #batchBytes = 0

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
    this.#options = options
    this.#turns = new Turns(state, reader, () => options.onHelpWanted?.())
    const { exp, mode, contexts } = negotiated
    const structured = mode >= NBD_MODE_STRUCTURED
    const writer = new ReplyWriter(channel, (error) => this.#fail(error))
    this.#transmission = { exp, structured, contexts, writer }
    this.#served = { size: exp.size, readOnly: exp.readOnly, structured, blockStatus: contexts.length > 0 }
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
    while (this.#inFlight > 0) yield* this.#waitForOne()
    // A peer that broke the protocol is not waited for.
    if (this.#error === undefined) yield* writer.drain()
    this.#flush.delete()
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
      const waits = !this.#reader.hasMore
      if (!waits && performance.now() - this.#turnBegan > MAX_BATCH_MS) {
        this.#reader.unread()
        yield* nextTurn()
        this.#turnBegan = performance.now()
      }
      const n = yield* this.#reader.receive(this.#turns.wantsAll)
      if (waits) this.#turnBegan = performance.now()
      if (n === 0) return
      if (n === WOKEN) continue
      if (!gate.tryEnter()) {
        this.#reader.unread()
        yield* gate.untilOpen()
        continue
      }
      let pause: (() => CoroutineFn) | undefined
      try {
        pause = this.#takeMeasuredBatch()
      } finally {
        gate.leave()
      }
      writer.flush()
      if (pause) yield* pause()
    }
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

  #takeMeasuredBatch(): (() => CoroutineFn) | undefined {
    this.#batchBegan = performance.now()
    let pause: (() => CoroutineFn) | undefined
    try {
      pause = this.#takeBatch()
    } catch (error) {
      this.#fail(error)
    }
    // The window is the thread's: what is not taken any more must not be there for another connection.
    if (!this.#goesOn) this.#reader.window.clear()
    if (this.#batchRequests > 0) {
      if (this.#options.mayShare)
        this.#turns.measure(performance.now() - this.#batchBegan, this.#batchRequests)
      this.#state.countBatch(this.#batchRequests, this.#batchBytes)
      countBatch(this.#batchRequests, this.#batchBytes)
      this.#batchRequests = this.#batchBytes = 0
    }
    return pause
  }

  /**
   * Takes the requests that are in the window.
   *
   * @returns what must be waited for before the next receive; until that is called the window is still ours
   */
  #takeBatch(): (() => CoroutineFn) | undefined {
    const { window } = this.#reader
    const request = this.#request
    while (window.length >= NBD_REQUEST_SIZE && this.#goesOn) {
      if (this.#isLong()) {
        this.#reader.unread()
        return nextTurn
      }
      if (this.#isFull()) {
        this.#reader.unread()
        return () => this.#waitForRoom()
      }
      const { buffer } = window.memory
      if (!decodeRequest(buffer, window.start, request)) {
        const magic = buffer.readUInt32BE(window.start).toString(16)
        throw protocolError(`wrong request magic 0x${magic}, not 0x${NBD_REQUEST_MAGIC.toString(16)}`)
      }
      window.start += NBD_REQUEST_SIZE
      this.#batchRequests++
      if (request.type === NBD_CMD_WRITE) {
        if (request.length > window.length || request.length > NBD_MAX_BUFFER_SIZE)
          return this.#writeWhenReceived()
        if (this.#options.mayShare) this.#turns.passOn(window.start + request.length)
        this.#writeFromWindow()
      } else {
        if (this.#options.mayShare && request.type !== NBD_CMD_DISC) this.#turns.passOn(window.start)
        this.#dispatch()
      }
    }
    return undefined
  }

  /** The batch is at its end: others of this thread get their turn. */
  #isLong(): boolean {
    const requests = this.#batchRequests
    if (requests === 0) return false
    if (this.#turns.heavy) return true
    const most = currentProperties()['aio-max-batch']
    if (most > 0 && requests >= most) return true
    return requests % LOOK_EVERY === 0 && performance.now() - this.#batchBegan > MAX_BATCH_MS
  }

  #isFull(): boolean {
    const { writer } = this.#transmission
    const state = this.#state
    // The other threads are taken to have as much to send as this one.
    return (
      writer.blocked ||
      state.requests >= NBD_MAX_IN_FLIGHT_REQUESTS ||
      state.bytes + writer.queuedBytes * state.parts >= state.maxBytes
    )
  }

  *#waitForRoom(): CoroutineFn {
    const { writer } = this.#transmission
    while (this.#isFull() && this.#error === undefined && !this.#aborted) {
      writer.flush()
      if (writer.blocked) yield* writer.drain()
      else if (this.#inFlight > 0 && this.#isFull()) yield* this.#waitForOne()
      else
        yield* this.#state.room.waitWhile(() => this.#isFull() && this.#state.requests > 0 && !this.#aborted)
    }
  }

  /** Until some request of this thread has been answered. */
  *#waitForOne(): CoroutineFn {
    this.#room = Coroutine.current
    while (this.#room) yield* Coroutine.yield()
  }

  #dispatch(): void {
    const request = this.#request
    if (request.type === NBD_CMD_DISC) {
      this.#state.end()
      return
    }
    const refused = validateRequest(request, this.#served)
    if (refused) {
      this.#refuse(request, refused.error, refused.reason)
    } else if (request.type === NBD_CMD_READ) {
      this.#batchBytes += request.length
      const later = cmdRead(this.#transmission, request)
      if (later) this.#start({ ...request }, request.length, later)
    } else {
      const copy = { ...request }
      this.#start(copy, 0, commands.get(request.type)!(this.#transmission, copy))
    }
  }

  /** A WRITE whose payload is in the window. */
  #writeFromWindow(): void {
    const { window } = this.#reader
    const request = this.#request
    const at = window.start
    window.start += request.length
    const refused = validateRequest(request, this.#served)
    if (refused) {
      this.#refuse(request, refused.error, refused.reason)
      return
    }
    this.#batchBytes += request.length
    if (cmdWriteNowait(this.#transmission, request, window.memory.address + at)) return
    const memory = takeMemory(request.length)
    window.memory.buffer.copy(memory.buffer, 0, at, at + request.length)
    this.#startWrite({ ...request }, memory)
  }

  /** A WRITE whose payload is still to come, at least in part: it is received where it will be written from. */
  #writeWhenReceived(): () => CoroutineFn {
    const { window } = this.#reader
    const request = { ...this.#request }
    const refused = validateRequest(request, this.#served)
    if (refused) {
      this.#reader.unread()
      return () => this.#drainRefused(request, refused.error, refused.reason)
    }
    const memory = takeMemory(request.length)
    const there = window.length
    window.memory.buffer.copy(memory.buffer, 0, window.start, window.end)
    window.clear()
    this.#batchBytes += request.length
    return () => this.#receiveWrite(request, memory, there)
  }

  *#receiveWrite(request: NBDRequest, memory: Parameters<typeof giveMemory>[0], there: number): CoroutineFn {
    const { gate } = this.#negotiated.exp
    try {
      yield* this.#reader.readAll(memory, there, request.length)
      while (!gate.tryEnter()) yield* gate.untilOpen()
    } catch (error) {
      giveMemory(memory)
      throw error
    }
    try {
      if (cmdWriteNowait(this.#transmission, request, memory.address)) {
        giveMemory(memory)
        this.#transmission.writer.flush()
      } else {
        this.#startWrite(request, memory)
      }
    } finally {
      gate.leave()
    }
  }

  #startWrite(request: NBDRequest, memory: Parameters<typeof giveMemory>[0]): void {
    const transmission = this.#transmission
    const write = function* (): CoroutineFn {
      try {
        yield* cmdWrite(transmission, request, memory, 0)
      } finally {
        giveMemory(memory)
      }
    }
    this.#start(request, request.length, write())
  }

  /** A refused WRITE is answered when its payload is out of the way. */
  *#drainRefused(request: NBDRequest, error: number, reason: string): CoroutineFn {
    if (request.length > NBD_MAX_DRAIN_SIZE)
      throw protocolError(`${nbdCmdLookup(request.type)} of ${request.length} bytes`)
    yield* this.#reader.discard(request.length)
    this.#refuse(request, error, reason)
    this.#transmission.writer.flush()
  }

  #refuse(request: NBDRequest, error: number, reason: string): void {
    const { structured, writer } = this.#transmission
    log.debug({ error }, reason)
    replyError(writer, request, structured, error, reason)
  }

  /** Starts the coroutine of a request, which is in flight until it has been answered. */
  #start(request: NBDRequest, bytes: number, command: CoroutineFn): void {
    this.#inFlight++
    this.#state.begin(bytes)
    this.#negotiated.exp.gate.enterAgain()
    Coroutine.create(() => this.#trip(request, bytes, command)).enter()
  }

  *#trip(request: NBDRequest, bytes: number, command: CoroutineFn): CoroutineFn {
    try {
      yield* command
    } catch (error) {
      this.#replyFailure(request, error)
    }
    this.#inFlight--
    this.#state.done(bytes)
    this.#negotiated.exp.gate.leave()
    this.#flush.schedule()
    const room = this.#room
    this.#room = undefined
    room?.wake()
  }

  #replyFailure(request: NBDRequest, error: unknown): void {
    const { structured, writer } = this.#transmission
    const mayEnotsup = request.type === NBD_CMD_WRITE_ZEROES && (request.flags & NBD_CMD_FLAG_FAST_ZERO) !== 0
    const mayEoverflow = request.type === NBD_CMD_READ && (request.flags & NBD_CMD_FLAG_DF) !== 0
    const text = `${nbdCmdLookup(request.type)}: ${reason(error)}`
    if (!NBDError.is(error) || error.kind !== 'request') log.error({ err: error }, text)
    else log.debug(text)
    replyError(writer, request, structured, nbdErrno(errnoOf(error) ?? EIO, mayEnotsup, mayEoverflow), text)
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
