/**
 * The transmission phase of one connection: takes all requests that a receive brought, serves what is at hand on
 * the spot, starts a coroutine for each of the others, and sends the replies that are ready together.
 *
 * @context the connection's IOThread
 * @see nbd_trip in QEMU's nbd/server.c
 */
import { BottomHalf } from '../../shared/aio/bottom-half.ts'
import { NBDError, protocolError } from '../../shared/errors/nbd-error.ts'
import { errnoOf, reason } from '../../shared/errors/system-error.ts'
import type { QIOChannelSocket } from '../../shared/io/channel-socket.ts'
import { giveMemory, takeMemory } from '../../shared/io/memory-pool.ts'
import { receiveWindow } from '../../shared/io/receive-window.ts'
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
  NBD_MAX_IN_FLIGHT_BYTES,
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
import { replyError } from './reply.ts'
import { ReplyWriter } from './reply-writer.ts'
import type { Transmission } from './transmission.ts'
import { validateRequest, type Served } from './validate-request.ts'

/** Commands without payload whose work always goes through a coroutine. */
const commands = new Map<number, (transmission: Transmission, request: NBDRequest) => Promise<void>>([
  [NBD_CMD_FLUSH, cmdFlush],
  [NBD_CMD_TRIM, cmdTrim],
  [NBD_CMD_CACHE, cmdCache],
  [NBD_CMD_WRITE_ZEROES, cmdWriteZeroes],
  [NBD_CMD_BLOCK_STATUS, cmdBlockStatus]
])

const asError = (error: unknown): Error => (error instanceof Error ? error : new Error(String(error)))

export class ReceiveLoop {
  readonly #channel: QIOChannelSocket
  readonly #transmission: Transmission
  readonly #served: Served
  readonly #window = receiveWindow()
  /** The request that is being looked at; whoever outlives the look has copied it. */
  readonly #request = newRequest()
  #disconnected = false
  #stopped = false
  #error: Error | undefined
  #inFlightRequests = 0
  #inFlightBytes = 0
  /** The loop waits for requests in flight to end. */
  #room: (() => void) | undefined
  /** Sends the replies of all that ended in one round of the loop together. */
  readonly #flush = new BottomHalf(() => this.#transmission.writer.flush())

  constructor(channel: QIOChannelSocket, { exp, mode, contexts }: Negotiated) {
    this.#channel = channel
    const structured = mode >= NBD_MODE_STRUCTURED
    const writer = new ReplyWriter(channel, (error) => this.#fail(error))
    this.#transmission = { exp, structured, contexts, writer }
    this.#served = { size: exp.size, readOnly: exp.readOnly, structured, blockStatus: contexts.length > 0 }
  }

  /**
   * Serves until the client disconnects or `stop` is called, and then until every request in flight is answered.
   *
   * @throws NBDError of kind `protocol` or `transport`; nothing is in flight any more then, either
   */
  async run(): Promise<void> {
    const { writer } = this.#transmission
    try {
      while (!this.#disconnected && this.#error === undefined) {
        const received = this.#channel.receive()
        const n = typeof received === 'number' ? received : await received
        if (n === 0) break
        const pause = this.#takeBatch()
        writer.flush()
        if (pause) await pause()
      }
    } catch (error) {
      this.#error ??= asError(error)
    }
    // Nobody reads the thread's window on our behalf any more.
    this.#window.clear()
    while (this.#inFlightRequests > 0) await this.#waitForOne()
    // A peer that broke the protocol is not waited for.
    if (this.#error === undefined) await writer.drain()
    this.#flush.delete()
    if (this.#error !== undefined && !this.#stopped) throw this.#error
  }

  /** Takes no further request. `run` then answers those in flight, and returns. */
  stop(): void {
    this.#stopped = this.#disconnected = true
    this.#channel.endReading()
  }

  #fail(error: unknown): void {
    this.#error ??= asError(error)
    this.#channel.shutdown()
  }

  /**
   * Takes the requests that are in the window.
   *
   * @returns what must be waited for before the next receive; until that is called the window is still ours
   */
  #takeBatch(): (() => Promise<void>) | undefined {
    const window = this.#window
    const request = this.#request
    while (window.length >= NBD_REQUEST_SIZE && !this.#disconnected) {
      if (this.#isFull()) {
        this.#channel.unread()
        return () => this.#waitForRoom()
      }
      const { buffer } = window.memory
      if (!decodeRequest(buffer, window.start, request)) {
        const magic = buffer.readUInt32BE(window.start).toString(16)
        throw protocolError(`wrong request magic 0x${magic}, not 0x${NBD_REQUEST_MAGIC.toString(16)}`)
      }
      window.start += NBD_REQUEST_SIZE
      if (request.type === NBD_CMD_WRITE) {
        if (request.length > window.length || request.length > NBD_MAX_BUFFER_SIZE)
          return this.#writeWhenReceived()
        this.#writeFromWindow()
      } else {
        this.#dispatch()
      }
    }
    return undefined
  }

  #isFull(): boolean {
    const { writer } = this.#transmission
    return (
      writer.blocked ||
      this.#inFlightRequests >= NBD_MAX_IN_FLIGHT_REQUESTS ||
      this.#inFlightBytes + writer.queuedBytes >= NBD_MAX_IN_FLIGHT_BYTES
    )
  }

  async #waitForRoom(): Promise<void> {
    const { writer } = this.#transmission
    while (this.#isFull() && this.#error === undefined) {
      writer.flush()
      if (writer.blocked) await writer.drain()
      else if (this.#isFull()) await this.#waitForOne()
    }
  }

  /** Until some request in flight has been answered. */
  #waitForOne(): Promise<void> {
    return new Promise((resolve) => {
      this.#room = resolve
    })
  }

  #dispatch(): void {
    const request = this.#request
    if (request.type === NBD_CMD_DISC) {
      this.#disconnected = true
      return
    }
    const refused = validateRequest(request, this.#served)
    if (refused) {
      this.#refuse(request, refused.error, refused.reason)
    } else if (request.type === NBD_CMD_READ) {
      const later = cmdRead(this.#transmission, request)
      if (later) this.#track({ ...request }, request.length, later)
    } else {
      const copy = { ...request }
      this.#track(copy, 0, commands.get(request.type)!(this.#transmission, copy))
    }
  }

  /** A WRITE whose payload is in the window. */
  #writeFromWindow(): void {
    const window = this.#window
    const request = this.#request
    const at = window.start
    window.start += request.length
    const refused = validateRequest(request, this.#served)
    if (refused) {
      this.#refuse(request, refused.error, refused.reason)
      return
    }
    if (cmdWriteNowait(this.#transmission, request, window.memory.address + at)) return
    const memory = takeMemory(request.length)
    window.memory.buffer.copy(memory.buffer, 0, at, at + request.length)
    this.#startWrite({ ...request }, memory)
  }

  /** A WRITE whose payload is still to come, at least in part: it is received where it will be written from. */
  #writeWhenReceived(): () => Promise<void> {
    const window = this.#window
    const request = { ...this.#request }
    const refused = validateRequest(request, this.#served)
    if (refused) {
      this.#channel.unread()
      return () => this.#drainRefused(request, refused.error, refused.reason)
    }
    const memory = takeMemory(request.length)
    const there = window.length
    window.memory.buffer.copy(memory.buffer, 0, window.start, window.end)
    window.clear()
    return async () => {
      try {
        await this.#channel.readAll(memory, there, request.length - there)
      } catch (error) {
        giveMemory(memory)
        throw error
      }
      if (cmdWriteNowait(this.#transmission, request, memory.address)) {
        giveMemory(memory)
        this.#transmission.writer.flush()
      } else {
        this.#startWrite(request, memory)
      }
    }
  }

  #startWrite(request: NBDRequest, memory: Parameters<typeof giveMemory>[0]): void {
    const written = cmdWrite(this.#transmission, request, memory, 0).finally(() => giveMemory(memory))
    this.#track(request, request.length, written)
  }

  /** A refused WRITE is answered when its payload is out of the way. */
  async #drainRefused(request: NBDRequest, error: number, reason: string): Promise<void> {
    if (request.length > NBD_MAX_DRAIN_SIZE)
      throw protocolError(`${nbdCmdLookup(request.type)} of ${request.length} bytes`)
    await this.#channel.discard(request.length)
    this.#refuse(request, error, reason)
    this.#transmission.writer.flush()
  }

  #refuse(request: NBDRequest, error: number, reason: string): void {
    const { structured, writer } = this.#transmission
    log.debug({ error }, reason)
    replyError(writer, request, structured, error, reason)
  }

  /** Counts a request in flight until it has been answered. */
  #track(request: NBDRequest, bytes: number, done: Promise<void>): void {
    this.#inFlightRequests++
    this.#inFlightBytes += bytes
    void done
      .catch((error: unknown) => this.#replyFailure(request, error))
      .then(() => {
        this.#inFlightRequests--
        this.#inFlightBytes -= bytes
        this.#flush.schedule()
        const room = this.#room
        this.#room = undefined
        room?.()
      })
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
}
