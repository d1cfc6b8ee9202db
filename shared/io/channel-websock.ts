/**
 * A WebSocket over another channel: what is written goes out in binary messages, and what comes in binary messages is
 * read as one stream of bytes.
 *
 * Whoever reads also answers pings and the peer's farewell. What could not be sent at once is sent by a coroutine of
 * the channel's own, so that it goes out although nobody writes again.
 *
 * @see RFC 6455; QIOChannelWebsock in QEMU's io/channel-websock.c
 */
import * as crypto from 'node:crypto'
import { Coroutine, type CoroutineFn } from '../coroutine/coroutine.ts'
import { NBDError } from '../errors/nbd-error.ts'
import { Memory } from '../syscall/memory.ts'
import { ChannelEnds } from './channel-ends.ts'
import {
  iovLength,
  QIO_CHANNEL_ERR_BLOCK,
  QIOChannel,
  type IOCondition,
  type IOVec,
  type QIOChannelFeature,
  type ShutdownMode
} from './channel.ts'
import { IOWaiters } from './io-waiters.ts'
import {
  applyMask,
  CLOSE_NORMAL,
  CLOSE_PROTOCOL_ERROR,
  CLOSE_TOO_BIG,
  CLOSE_UNSUPPORTED_DATA,
  isControl,
  MAX_HEADER_SIZE,
  OPCODE_BINARY,
  OPCODE_CLOSE,
  OPCODE_CONTINUATION,
  OPCODE_PING,
  parseFrameHeader,
  OPCODE_PONG,
  WebsockViolation,
  writeFrameHeader,
  type FrameHeader
} from './websock-frame.ts'
import {
  answerRequest,
  checkReply,
  handshakeError,
  MAX_HANDSHAKE_SIZE,
  newKey,
  tooLarge,
  upgradeRequest
} from './websock-handshake.ts'

/** Read ahead; a handshake must fit. */
const INPUT_SIZE = 16 * 1024
/** Payload of a frame that is sent: what may be on its way when `writev` returns. */
const MAX_SENT_SIZE = 64 * 1024
/** Payload of a frame that is received, unless another limit is given. It is not kept: this bounds nonsense, not memory. */
const DEFAULT_MAX_FRAME_SIZE = 64 * 1024 * 1024
/** How long `close` tries to say farewell. */
const CLOSE_TIMEOUT_MS = 1000

export interface WebsockOptions {
  path?: string
  /** Bytes of payload that a frame of the peer may have. */
  maxFrameSize?: number
}

type Side = 'server' | 'client'

export class QIOChannelWebsock extends QIOChannel {
  override readonly features: ReadonlySet<QIOChannelFeature>
  readonly #master: QIOChannel
  readonly #side: Side
  readonly #maxFrameSize: number
  readonly #ends = new ChannelEnds()
  readonly #waiters = new IOWaiters()
  /** Why nothing can be read any more. */
  #error: NBDError | undefined
  /** Why nothing can be sent any more. What the peer has sent can still be read. */
  #sendError: NBDError | undefined
  #closing: Promise<void> | undefined

  /** Bytes from #start to #end were received, and not yet looked at. */
  readonly #input = Memory.allocate(INPUT_SIZE)
  #start = 0
  #end = 0
  /** The last `readv` took all that there was. */
  #drained = false
  /** Of the data frame that is being read. */
  #remaining = 0
  #mask: Uint8Array | undefined
  #phase = 0
  /** A message has begun, and its last frame has not come. */
  #inMessage = false
  /** The peer says or sends nothing more. */
  #ended = false

  /** A frame: bytes from #outStart to #outEnd are still to be sent. */
  readonly #output = Memory.allocate(MAX_HEADER_SIZE + MAX_SENT_SIZE)
  #outStart = 0
  #outEnd = 0
  /** Payloads of control frames that go out next. Of several pings only the last needs an answer. */
  #pong: Buffer | undefined
  #farewell: Buffer | undefined
  #closeSent = false
  /** Sends what could not be sent at once. */
  #flushing: Promise<void> | undefined

  private constructor(master: QIOChannel, side: Side, maxFrameSize = DEFAULT_MAX_FRAME_SIZE) {
    super()
    this.#master = master
    this.#side = side
    this.#maxFrameSize = maxFrameSize
    this.features = new Set(master.features.has('shutdown') ? ['shutdown'] : [])
  }

  /**
   * Answers a client's handshake. Whoever calls it bounds the time, by shutting `master` down.
   *
   * @param master the new channel's; when this throws, the caller's
   * @throws NBDError of kind `transport`; a client that asked for something else has been told so
   * @see qio_channel_websock_new_server, qio_channel_websock_handshake
   */
  static *accept(master: QIOChannel, options: WebsockOptions = {}): CoroutineFn<QIOChannelWebsock> {
    const channel = new QIOChannelWebsock(master, 'server', options.maxFrameSize)
    const request = yield* channel.#readHead()
    const { text, refused } = request === undefined ? tooLarge() : answerRequest(request, options.path ?? '/')
    yield* channel.#writeHead(text)
    if (refused !== undefined) throw handshakeError(refused)
    return channel
  }

  /**
   * Begins a WebSocket with a server.
   *
   * @param master the new channel's; when this throws, the caller's
   * @param host name of the server, with the port where it is not the usual one
   * @throws NBDError of kind `transport`
   */
  static *connect(
    master: QIOChannel,
    host: string,
    options: WebsockOptions = {}
  ): CoroutineFn<QIOChannelWebsock> {
    const channel = new QIOChannelWebsock(master, 'client', options.maxFrameSize)
    const key = newKey()
    yield* channel.#writeHead(upgradeRequest(host, options.path ?? '/', key))
    const reply = yield* channel.#readHead()
    if (reply === undefined) throw handshakeError(`the reply is longer than ${MAX_HANDSHAKE_SIZE} bytes`)
    checkReply(reply, key)
    return channel
  }

  override readv(iov: readonly IOVec[]): number {
    if (!this.#ends.mayRead()) return 0
    if (this.#error) throw this.#error
    if (iovLength(iov) === 0) return 0
    try {
      const n = this.#read(iov)
      this.#drained = n === QIO_CHANNEL_ERR_BLOCK
      return n
    } catch (error) {
      throw this.#fail(error)
    }
  }

  /** Of what was taken, some may still wait for room; it goes on by itself. */
  override writev(iov: readonly IOVec[]): number {
    this.#ends.checkWrite()
    const error = this.#sendError ?? this.#error
    if (error) throw error
    if (this.#closeSent) throw new NBDError('transport', 'the peer has closed the WebSocket')
    if (this.#flushing) return QIO_CHANNEL_ERR_BLOCK
    const length = Math.min(iovLength(iov), MAX_SENT_SIZE)
    if (length === 0) return 0
    const { buffer } = this.#output
    const at = this.#beginFrame(OPCODE_BINARY, length)
    let done = 0
    for (const { memory, start, end } of iov) {
      if (done === length) break
      done += memory.buffer.copy(buffer, at + done, start, Math.min(end, start + length - done))
    }
    this.#endFrame(at, length)
    this.#send()
    return length
  }

  override *yield(condition: IOCondition): CoroutineFn {
    if (condition === 'out') {
      if (!this.#flushing) return yield* this.#waiters.waitTurn('out')
      return yield* this.#waiters.wait('out')
    }
    const over = this.#ended || this.#error !== undefined || this.#ends.closed
    if (over || (this.#start < this.#end && !this.#drained)) {
      return yield* this.#waiters.waitTurn('in')
    }
    yield* this.#master.yield('in')
  }

  override wakeRead(): void {
    this.#waiters.wake('in')
    this.#master.wakeRead()
  }

  /** The WebSocket protocol has no way to end one direction only: the peer sees the end of the channel beneath. */
  override shutdown(mode: ShutdownMode): void {
    this.#ends.shutdown(mode)
    if (mode === 'write' && this.#flushing) void this.#flushing.then(() => this.#master.shutdown('write'))
    else this.#master.shutdown(mode)
    this.#waiters.wakeAll()
  }

  override setCork(on: boolean): void {
    this.#master.setCork(on)
  }

  override setDelay(on: boolean): void {
    this.#master.setDelay(on)
  }

  /** Says farewell, behind what was written, and closes the channel beneath. Does not wait for the peer's farewell. */
  override close(): Promise<void> {
    return (this.#closing ??= this.#close())
  }

  async #close(): Promise<void> {
    this.#ends.close()
    this.#waiters.wakeAll()
    this.#master.wakeRead()
    this.#sayFarewell(CLOSE_NORMAL)
    const timer = setTimeout(() => this.#master.shutdown('both'), CLOSE_TIMEOUT_MS)
    while (this.#flushing) await this.#flushing
    clearTimeout(timer)
    await this.#master.close()
  }

  /** Text of a request or reply, without its empty line; what came behind it stays in the input. */
  *#readHead(): CoroutineFn<string | undefined> {
    const memory = this.#input
    for (;;) {
      const end = memory.buffer.subarray(0, this.#end).indexOf('\r\n\r\n')
      if (end >= 0) {
        this.#start = end + 4
        return memory.buffer.toString('latin1', 0, end)
      }
      if (this.#end === MAX_HANDSHAKE_SIZE) return undefined
      const n = this.#master.readv([{ memory, start: this.#end, end: MAX_HANDSHAKE_SIZE }])
      if (n === 0) throw handshakeError('the peer closed the connection')
      if (n === QIO_CHANNEL_ERR_BLOCK) yield* this.#master.yield('in')
      else this.#end += n
    }
  }

  *#writeHead(text: string): CoroutineFn {
    const memory = Memory.allocate(text.length)
    memory.buffer.write(text, 'latin1')
    yield* this.#master.writevAll([{ memory, start: 0, end: text.length }])
  }

  #read(iov: readonly IOVec[]): number {
    while (!this.#ended) {
      if (this.#remaining > 0) return this.#readPayload(iov)
      if (this.#nextFrame()) continue
      const n = this.#fill()
      if (n === QIO_CHANNEL_ERR_BLOCK) return n
      if (n === 0) {
        if (this.#start < this.#end || this.#inMessage) throw cutOff()
        this.#ended = true
      }
    }
    return 0
  }

  /** Brings more bytes into the input, which is not full. */
  #fill(): number {
    const memory = this.#input
    memory.buffer.copyWithin(0, this.#start, this.#end)
    this.#end -= this.#start
    this.#start = 0
    const n = this.#master.readv([{ memory, start: this.#end, end: INPUT_SIZE }])
    if (n > 0) this.#end += n
    return n
  }

  /** Takes the header of a data frame, or a whole control frame, from the input. @returns false when it is not all there */
  #nextFrame(): boolean {
    const header = parseFrameHeader(this.#input.buffer.subarray(this.#start, this.#end))
    if (!header) return false
    this.#check(header)
    const { opcode, length, mask, headerSize } = header
    if (!isControl(opcode)) {
      this.#start += headerSize
      this.#remaining = length
      this.#mask = mask
      this.#phase = 0
      this.#inMessage = !header.fin
      return true
    }
    const payload = this.#start + headerSize
    if (this.#end < payload + length) return false
    this.#start = payload + length
    if (mask) applyMask(this.#input.buffer, payload, this.#start, mask, 0)
    this.#control(opcode, Buffer.from(this.#input.buffer.subarray(payload, this.#start)))
    return true
  }

  #check({ opcode, length, mask }: FrameHeader): void {
    if ((mask !== undefined) !== (this.#side === 'server')) {
      throw new WebsockViolation(CLOSE_PROTOCOL_ERROR, `a ${this.#side} got a frame with the wrong masking`)
    }
    if (length > this.#maxFrameSize) {
      throw new WebsockViolation(CLOSE_TOO_BIG, `a frame is longer than ${this.#maxFrameSize} bytes`)
    }
    if (opcode === OPCODE_BINARY || opcode === OPCODE_CONTINUATION) {
      if ((opcode === OPCODE_CONTINUATION) === this.#inMessage) return
      throw new WebsockViolation(CLOSE_PROTOCOL_ERROR, 'the fragments of a message are out of order')
    }
    if (opcode === OPCODE_CLOSE || opcode === OPCODE_PING || opcode === OPCODE_PONG) return
    throw new WebsockViolation(CLOSE_UNSUPPORTED_DATA, `frames of opcode ${opcode} are not understood`)
  }

  #control(opcode: number, payload: Buffer): void {
    if (opcode === OPCODE_PING) {
      this.#pong = payload
      this.#send()
    } else if (opcode === OPCODE_CLOSE) {
      if (payload.length === 1) throw new WebsockViolation(CLOSE_PROTOCOL_ERROR, 'half a code in a farewell')
      this.#ended = true
      this.#sayFarewell(payload.length === 0 ? CLOSE_NORMAL : payload.readUInt16BE(0))
    }
  }

  #readPayload(iov: readonly IOVec[]): number {
    const wanted = limited(iov, this.#remaining)
    const length = iovLength(wanted)
    let n: number
    if (this.#start === this.#end && length >= INPUT_SIZE) {
      n = this.#master.readv(wanted)
    } else {
      n = this.#start === this.#end ? this.#fill() : this.#end - this.#start
      if (n > 0) n = this.#takeInput(wanted, Math.min(n, length))
    }
    if (n === QIO_CHANNEL_ERR_BLOCK) return n
    if (n === 0) throw cutOff()
    if (this.#mask) this.#unmask(wanted, n, this.#mask)
    this.#phase = (this.#phase + n) & 3
    this.#remaining -= n
    return n
  }

  #takeInput(iov: readonly IOVec[], length: number): number {
    const stop = this.#start + length
    for (const { memory, start, end } of iov) {
      if (this.#start === stop) break
      const n = Math.min(end - start, stop - this.#start)
      this.#start += this.#input.buffer.copy(memory.buffer, start, this.#start, this.#start + n)
    }
    return length
  }

  #unmask(iov: readonly IOVec[], length: number, mask: Uint8Array): void {
    let done = 0
    for (const { memory, start, end } of iov) {
      if (done === length) break
      const n = Math.min(end - start, length - done)
      applyMask(memory.buffer, start, start + n, mask, this.#phase + done)
      done += n
    }
  }

  /** Puts a header into the output, which is empty. @returns where the payload belongs */
  #beginFrame(opcode: number, length: number): number {
    const mask = this.#side === 'client' ? crypto.randomBytes(4) : undefined
    this.#outStart = 0
    return writeFrameHeader(this.#output.buffer, 0, opcode, length, mask)
  }

  #endFrame(at: number, length: number): void {
    const { buffer } = this.#output
    if (this.#side === 'client') applyMask(buffer, at, at + length, buffer.subarray(at - 4, at), 0)
    this.#outEnd = at + length
  }

  #controlFrame(opcode: number, payload: Buffer): void {
    const at = this.#beginFrame(opcode, payload.length)
    payload.copy(this.#output.buffer, at)
    this.#endFrame(at, payload.length)
  }

  /** Ends our direction; what fails now does not matter any more. */
  #sayFarewell(code: number): void {
    if (this.#closeSent) return
    this.#closeSent = true
    this.#farewell = Buffer.from([code >> 8, code & 0xff])
    this.#send()
  }

  /** Sends what there is, now or as soon as there is room. */
  #send(): void {
    if (this.#flushing) return
    try {
      if (this.#flush()) return
    } catch (error) {
      this.#sendError ??= transportError(error)
      return
    }
    this.#flushing = Coroutine.start(() => this.#flushAll()).catch((error: unknown) => {
      this.#sendError ??= transportError(error)
    })
    void this.#flushing.then(() => {
      this.#flushing = undefined
      this.#waiters.wake('out')
      // Something may have come up since the last look.
      if (this.#pong || this.#farewell) this.#send()
    })
  }

  *#flushAll(): CoroutineFn {
    while (!this.#flush()) yield* this.#master.yield('out')
  }

  /** @returns whether all is sent */
  #flush(): boolean {
    for (;;) {
      while (this.#outStart < this.#outEnd) {
        const n = this.#master.writev([{ memory: this.#output, start: this.#outStart, end: this.#outEnd }])
        if (n === QIO_CHANNEL_ERR_BLOCK) return false
        this.#outStart += n
      }
      if (this.#pong) {
        this.#controlFrame(OPCODE_PONG, this.#pong)
        this.#pong = undefined
      } else if (this.#farewell) {
        this.#controlFrame(OPCODE_CLOSE, this.#farewell)
        this.#farewell = undefined
      } else {
        return true
      }
    }
  }

  #fail(error: unknown): NBDError {
    const failed = transportError(error)
    if (failed instanceof WebsockViolation) this.#sayFarewell(failed.code)
    return (this.#error = failed)
  }
}

const cutOff = (): NBDError => new NBDError('transport', 'WebSocket: the stream ends within a message')

const transportError = (error: unknown): NBDError =>
  NBDError.is(error) ? error : new NBDError('transport', String(error), { cause: error })

/** The first `length` bytes of it. */
function limited(iov: readonly IOVec[], length: number): IOVec[] {
  const pieces: IOVec[] = []
  for (const { memory, start, end } of iov) {
    if (length === 0) break
    const n = Math.min(end - start, length)
    pieces.push({ memory, start, end: start + n })
    length -= n
  }
  return pieces
}
