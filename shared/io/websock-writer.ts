/**
 * What goes out on a WebSocket: each write as a binary message, and control frames between them.
 *
 * What could not be sent at once is sent by a coroutine of its own, so that it goes out although nobody writes again.
 *
 * @see RFC 6455, section 5
 */
import * as crypto from 'node:crypto'
import { Coroutine, type CoroutineFn } from '../coroutine/coroutine.ts'
import { NBDError } from '../errors/nbd-error.ts'
import { Memory } from '../syscall/memory.ts'
import { iovLength, QIO_CHANNEL_ERR_BLOCK, type IOVec, type QIOChannel } from './channel.ts'
import { asTransportError } from './transport-errors.ts'
import {
  applyMask,
  MAX_HEADER_SIZE,
  OPCODE_BINARY,
  OPCODE_CLOSE,
  OPCODE_PONG,
  writeFrameHeader,
  type WebsockSide
} from './websock-frame.ts'

/** Payload of a frame: what may be on its way when `writev` returns. */
const MAX_SENT_SIZE = 64 * 1024

export class WebsockWriter {
  readonly #master: QIOChannel
  readonly #side: WebsockSide
  readonly #onRoom: () => void
  /** Why nothing can be sent any more. */
  #error: NBDError | undefined
  /** A frame: bytes from #start to #end are still to be sent. */
  readonly #output = Memory.allocate(MAX_HEADER_SIZE + MAX_SENT_SIZE)
  #start = 0
  #end = 0
  /** Payloads of control frames that go out next. Of several pings only the last needs an answer. */
  #pong: Buffer | undefined
  #farewell: Buffer | undefined
  #closeSent = false
  /** Sends what could not be sent at once. */
  #flushing: Promise<void> | undefined

  /**
   * @param side ours
   * @param onRoom is called when all is sent that had to wait
   */
  constructor(master: QIOChannel, side: WebsockSide, onRoom: () => void) {
    this.#master = master
    this.#side = side
    this.#onRoom = onRoom
  }

  /** Resolves when what had to wait is sent, or lost; undefined when nothing waits. */
  get flushing(): Promise<void> | undefined {
    return this.#flushing
  }

  /** Text of a request or reply, before all frames. @throws NBDError of kind `transport` */
  *writeHead(text: string): CoroutineFn {
    const memory = Memory.allocate(text.length)
    memory.buffer.write(text, 'latin1')
    yield* this.#master.writevAll([{ memory, start: 0, end: text.length }])
  }

  /** @throws NBDError of kind `transport` when nothing can be sent any more */
  check(): void {
    if (this.#error) throw this.#error
  }

  /**
   * Takes a message, of which some may still wait for room; it goes on by itself.
   *
   * @returns bytes, or QIO_CHANNEL_ERR_BLOCK
   * @throws NBDError of kind `transport`
   */
  writev(iov: readonly IOVec[]): number {
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

  /** Answers a ping. @param payload this object's from now on */
  pong(payload: Buffer): void {
    this.#pong = payload
    this.#send()
  }

  /** Ends our direction; what fails now does not matter any more. */
  sayFarewell(code: number): void {
    if (this.#closeSent) return
    this.#closeSent = true
    this.#farewell = Buffer.from([code >> 8, code & 0xff])
    this.#send()
  }

  /** Puts a header into the output, which is empty. @returns where the payload belongs */
  #beginFrame(opcode: number, length: number): number {
    const mask = this.#side === 'client' ? crypto.randomBytes(4) : undefined
    this.#start = 0
    return writeFrameHeader(this.#output.buffer, 0, opcode, length, mask)
  }

  #endFrame(at: number, length: number): void {
    const { buffer } = this.#output
    if (this.#side === 'client') applyMask(buffer, at, at + length, buffer.subarray(at - 4, at), 0)
    this.#end = at + length
  }

  #controlFrame(opcode: number, payload: Buffer): void {
    const at = this.#beginFrame(opcode, payload.length)
    payload.copy(this.#output.buffer, at)
    this.#endFrame(at, payload.length)
  }

  /** Sends what there is, now or as soon as there is room. */
  #send(): void {
    if (this.#flushing) return
    try {
      if (this.#flush()) return
    } catch (error) {
      this.#error ??= asTransportError(error)
      return
    }
    this.#flushing = Coroutine.start(() => this.#flushAll()).catch((error: unknown) => {
      this.#error ??= asTransportError(error)
    })
    void this.#flushing.then(() => {
      this.#flushing = undefined
      this.#onRoom()
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
      while (this.#start < this.#end) {
        const n = this.#master.writev([{ memory: this.#output, start: this.#start, end: this.#end }])
        if (n === QIO_CHANNEL_ERR_BLOCK) return false
        this.#start += n
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
}
