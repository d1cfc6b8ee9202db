/**
 * The way in of a connected socket.
 *
 * node:net shows that there are bytes by reading them. So while a coroutine waits, node:net reads into the thread's
 * ReceiveWindow, from where the next `readv` takes them; what that leaves is set aside for the one after it.
 *
 * @context the thread in whose loop the socket is
 */
import type * as net from 'node:net'
import { AioContext } from '../aio/aio-context.ts'
import { Coroutine, type CoroutineFn } from '../coroutine/coroutine.ts'
import { bugError, type NBDError } from '../errors/nbd-error.ts'
import { Drain } from '../syscall/drain.ts'
import { recvWithFds } from '../syscall/fd-pass.ts'
import { EAGAIN } from '../syscall/libc.ts'
import { recv } from '../syscall/socket.ts'
import { QIO_CHANNEL_ERR_BLOCK, type IOVec } from './channel.ts'
import { probeReadable } from './readable-probe.ts'
import { receiveWindow, WINDOW_OFFSET, type ReceiveWindow } from './receive-window.ts'
import { SetAside } from './set-aside.ts'
import { closedError, transportError } from './transport-errors.ts'

export class SocketReader {
  readonly #fd: number
  readonly #socket: net.Socket
  readonly #window: ReceiveWindow = receiveWindow()
  /** Bytes that waiting brings at the most; the rest stays in the socket. */
  waitLimit = Infinity
  #drain: Drain | undefined
  /** Others read the same socket, too. */
  #shares = false
  /** Part of the window that node:net has just filled, while the coroutine that waited for it runs. */
  #filledStart = 0
  #filledEnd = 0
  /** Received, and not taken by whoever waited: what the next `readv` gets first. */
  readonly #aside = new SetAside()
  #waiting: Coroutine<unknown> | undefined
  /** Whether node:net reads. */
  #reading = false
  #ended = false
  #closed = false
  /** Why nothing can be read any more. */
  #error: NBDError | undefined

  /** @param socket of `fd`; paused, it reads into the thread's window and tells `onRead` */
  constructor(fd: number, socket: net.Socket) {
    this.#fd = fd
    this.#socket = socket
  }

  /** Whether others read the same socket: then nothing is read unless somebody waits for it. */
  set shares(on: boolean) {
    this.#shares = on
    if (on && !this.#waiting) this.#stopReading()
  }

  /** Whether a coroutine waits for bytes. */
  get isAwaited(): boolean {
    return this.#waiting !== undefined
  }

  /** @returns bytes, 0 at the end of the stream, or QIO_CHANNEL_ERR_BLOCK @throws NBDError of kind `transport` */
  readv(iov: readonly IOVec[]): number {
    if (this.#closed) throw closedError()
    let total = 0
    for (const { memory, start, end } of iov) {
      if (start === end) continue
      const n = this.#read(memory.buffer, memory.address, start, end)
      if (n === QIO_CHANNEL_ERR_BLOCK) return total === 0 ? n : total
      total += n
      if (n < end - start) break
    }
    return total
  }

  /** Where node:net is to read to. */
  get target(): Buffer {
    return this.#window.target(this.waitLimit)
  }

  /** @returns as `readv` @throws NBDError of kind `transport`; of kind `request` (EMFILE) */
  drop(length: number): number {
    if (this.#closed) throw closedError()
    // In the place where they are.
    if (this.#filledEnd > this.#filledStart)
      return this.#takeFilled(this.#window.memory.buffer, this.#filledStart, this.#filledStart + length)
    if (this.#aside.length > 0) return this.#aside.skip(length)
    if (this.#error) throw this.#error
    if (this.#ended || this.#socket.destroyed) return 0
    return this.#received((this.#drain ??= new Drain()).drop(this.#fd, length))
  }

  /** @see QIOChannelSocket.readvFds */
  *readvFds({ memory, start, end }: IOVec): CoroutineFn<{ n: number; fds: number[] }> {
    for (;;) {
      if (this.#closed) throw closedError()
      if (this.#aside.length > 0) return { n: this.#aside.take(memory.buffer, start, end), fds: [] }
      if (this.#error) throw this.#error
      if (this.#ended || this.#socket.destroyed) return { n: 0, fds: [] }
      const result = recvWithFds(this.#fd, memory.address + start, end - start)
      if (result.n >= 0) return result
      if (result.n !== -EAGAIN) throw transportError('receiving', -result.n)
      yield* this.#untilReadable()
    }
  }

  /** Waits for bytes, which are read then, or for the end. @throws NBDError of kind `bug` when another waits */
  *yield(co: Coroutine<unknown>): CoroutineFn {
    if (this.#waiting) throw bugError('two coroutines read one channel')
    // Also for who was woken and has not read: what comes later must not overtake it.
    if (this.#filledEnd > this.#filledStart) return
    if (this.#aside.length > 0 || this.#ended || this.#error || this.#closed) return
    this.#waiting = co
    if (!this.#reading) {
      this.#reading = true
      this.#socket.resume()
    }
    while (this.#waiting === co) yield* Coroutine.yield()
  }

  /** Takes away what was received and not read. */
  takeReceived(): Buffer {
    return this.#aside.takeAll()
  }

  /** node:net has read `n` bytes into the window. @returns whether it is to go on */
  onRead(n: number): boolean {
    if (this.#closed) return false
    this.#filledStart = WINDOW_OFFSET
    this.#filledEnd = WINDOW_OFFSET + n
    const context = AioContext.current()
    context.enterHandler()
    this.#wake()
    context.leaveHandler()
    // Nobody has waited, or not for that.
    if (this.#filledEnd > this.#filledStart) {
      this.#aside.putBehind(this.#window.memory.buffer, this.#filledStart, this.#filledEnd)
      this.#filledStart = this.#filledEnd = 0
    }
    // A view among several reads for whoever waits, and no more: the next bytes may be another's.
    this.#reading &&= this.#waiting !== undefined || !(this.#shares || this.#aside.length > 0)
    return this.#reading
  }

  /** Lets the coroutine that waits go on. */
  wakeRead(): void {
    if (this.#shares) this.#stopReading()
    this.#wake()
  }

  /** Behind what was received, the stream ends. */
  end(): void {
    this.#ended = true
    this.#wake()
  }

  /** Behind what was received, reading fails. */
  fail(error: NBDError): void {
    this.#error ??= error
    this.#wake()
  }

  /** Nobody reads any more; what was received is dropped. */
  close(): void {
    this.#closed = true
    this.#drain?.close()
    this.#drain = undefined
    this.#stopReading()
    this.#aside.clear()
    this.#filledStart = this.#filledEnd = 0
    this.#wake()
  }

  /** @returns bytes, 0 at the end of the stream, or QIO_CHANNEL_ERR_BLOCK */
  #read(buffer: Buffer, address: number, start: number, end: number): number {
    if (this.#filledEnd > this.#filledStart) return this.#takeFilled(buffer, start, end)
    if (this.#aside.length > 0) return this.#aside.take(buffer, start, end)
    if (this.#error) throw this.#error
    if (this.#ended || this.#socket.destroyed) return 0
    return this.#received(recv(this.#fd, address + start, end - start))
  }

  /** @param n as of `recv` @returns as of `readv` */
  #received(n: number): number {
    if (n === -EAGAIN) return QIO_CHANNEL_ERR_BLOCK
    if (n < 0) throw transportError('receiving', -n)
    if (n === 0) this.#ended = true
    return n
  }

  #takeFilled(buffer: Buffer, start: number, end: number): number {
    const n = Math.min(end - start, this.#filledEnd - this.#filledStart)
    const from = this.#window.memory.buffer
    // Whoever receives into the window itself finds the bytes in their place.
    if (buffer !== from || start !== this.#filledStart) {
      from.copy(buffer, start, this.#filledStart, this.#filledStart + n)
    }
    // What is left must not stay there: others of this thread may receive before it is asked for.
    this.#aside.putBehind(from, this.#filledStart + n, this.#filledEnd)
    this.#filledStart = this.#filledEnd = 0
    return n
  }

  /** Waits for bytes, and leaves them in the socket. */
  *#untilReadable(): CoroutineFn {
    const co = Coroutine.current
    if (!co) throw bugError('QIOChannelSocket.readvFds outside a coroutine')
    if (this.#waiting) throw bugError('two coroutines read one channel')
    this.#stopReading()
    const stop = probeReadable(this.#fd, () => this.#wake())
    this.#waiting = co
    while (this.#waiting === co) yield* Coroutine.yield()
    stop()
  }

  #stopReading(): void {
    if (!this.#reading) return
    this.#reading = false
    this.#socket.pause()
  }

  #wake(): void {
    const co = this.#waiting
    this.#waiting = undefined
    co?.wake()
  }
}
