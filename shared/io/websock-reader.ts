/**
 * What comes in on a WebSocket: the payload of binary messages is read as one stream of bytes, and what control frames
 * say is told on the way.
 *
 * @see RFC 6455, sections 5 and 7
 */
import type { CoroutineFn } from '../coroutine/coroutine.ts'
import { NBDError } from '../errors/nbd-error.ts'
import { Memory } from '../syscall/memory.ts'
import { iovLength, QIO_CHANNEL_ERR_BLOCK, type IOVec, type QIOChannel } from './channel.ts'
import {
  applyMask,
  CLOSE_NORMAL,
  CLOSE_PROTOCOL_ERROR,
  CLOSE_TOO_BIG,
  CLOSE_UNSUPPORTED_DATA,
  isControl,
  OPCODE_BINARY,
  OPCODE_CLOSE,
  OPCODE_CONTINUATION,
  OPCODE_PING,
  OPCODE_PONG,
  parseFrameHeader,
  WebsockViolation,
  type FrameHeader,
  type WebsockSide
} from './websock-frame.ts'
import { handshakeError, MAX_HANDSHAKE_SIZE } from './websock-handshake.ts'

/** Read ahead; a handshake must fit. */
const INPUT_SIZE = 16 * 1024

/** What the peer's control frames ask for. */
export interface ControlEvents {
  /** The payload is the receiver's. */
  ping(payload: Buffer): void
  /** The peer says nothing more. @param code its reason */
  close(code: number): void
}

export class WebsockReader {
  readonly #master: QIOChannel
  readonly #side: WebsockSide
  readonly #maxFrameSize: number
  readonly #events: ControlEvents
  /** Bytes from #start to #end were received, and not yet looked at. */
  readonly #input = Memory.allocate(INPUT_SIZE)
  #start = 0
  #end = 0
  /** Of the data frame that is being read. */
  #remaining = 0
  #mask: Uint8Array | undefined
  #phase = 0
  /** A message has begun, and its last frame has not come. */
  #inMessage = false
  #ended = false

  /**
   * @param side ours
   * @param maxFrameSize bytes of payload that a frame of the peer may have
   */
  constructor(master: QIOChannel, side: WebsockSide, maxFrameSize: number, events: ControlEvents) {
    this.#master = master
    this.#side = side
    this.#maxFrameSize = maxFrameSize
    this.#events = events
  }

  /** The peer says or sends nothing more. */
  get ended(): boolean {
    return this.#ended
  }

  /** Something was received that nobody has looked at. */
  get hasInput(): boolean {
    return this.#start < this.#end
  }

  /**
   * Text of a request or reply, without its empty line; what came behind it stays in the input.
   *
   * @returns undefined when it is longer than MAX_HANDSHAKE_SIZE
   * @throws NBDError of kind `transport`
   */
  *readHead(): CoroutineFn<string | undefined> {
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

  /**
   * Reads what is there of the payload.
   *
   * @param iov of at least one byte
   * @returns bytes, 0 at the end of the stream, or QIO_CHANNEL_ERR_BLOCK
   * @throws WebsockViolation, or another NBDError of kind `transport`
   */
  readv(iov: readonly IOVec[]): number {
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
      this.#events.ping(payload)
    } else if (opcode === OPCODE_CLOSE) {
      if (payload.length === 1) throw new WebsockViolation(CLOSE_PROTOCOL_ERROR, 'half a code in a farewell')
      this.#ended = true
      this.#events.close(payload.length === 0 ? CLOSE_NORMAL : payload.readUInt16BE(0))
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
}

const cutOff = (): NBDError => new NBDError('transport', 'WebSocket: the stream ends within a message')

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
