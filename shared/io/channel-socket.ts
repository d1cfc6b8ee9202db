/**
 * A connected stream socket (TCP or Unix) in the loop of the thread that opened it.
 *
 * Every transfer first tries the system call; only when that would have to wait does node:net wait, in this thread's loop,
 * and the coroutine with it. node:net shows readiness by reading, so while a coroutine waits for bytes node:net reads them
 * into the thread's ReceiveWindow, from where the next `readv` takes them; and it shows room by writing, so a `writev` that
 * finds none hands one piece to node:net and counts it as written.
 *
 * Several threads use one socket by a view each (`handle`, `attach`), with a descriptor of its own: whoever yields does so
 * in the loop of its own thread. They agree by locks on who reads and who writes; a view that nobody waits on reads nothing.
 *
 * @see QEMU io/channel-socket.c; qio_channel_set_follow_coroutine_ctx
 */
import * as net from 'node:net'
import { AioContext } from '../aio/aio-context.ts'
import { Coroutine, type CoroutineFn } from '../coroutine/coroutine.ts'
import { bugError, NBDError } from '../errors/nbd-error.ts'
import { errnoText, reason } from '../errors/system-error.ts'
import { duplicateFd } from '../syscall/fd.ts'
import { recvWithFds, sendWithFds } from '../syscall/fd-pass.ts'
import { EAGAIN } from '../syscall/libc.ts'
import {
  isUnixSocket,
  MAX_GATHER,
  MSG_MORE,
  recv,
  send,
  sendfile,
  sendGather,
  setGather,
  setTcpCork,
  shutdownSocket
} from '../syscall/socket.ts'
import {
  QIO_CHANNEL_ERR_BLOCK,
  QIOChannel,
  type IOCondition,
  type IOVec,
  type QIOChannelFeature,
  type ShutdownMode
} from './channel.ts'
import { receiveWindow, WINDOW_OFFSET, type ReceiveWindow } from './receive-window.ts'

/** What is handed to node:net to wait for room with. */
const WAIT_PIECE = 64 * 1024
/** For the peer to make room for what is left, when the channel is closed. */
const CLOSE_TIMEOUT_MS = 10_000

/** A socket as another thread is given it: postable, for one `attach`. */
export interface SocketHandle {
  /** The receiver's to close. */
  fd: number
}

const FEATURES: ReadonlySet<QIOChannelFeature> = new Set(['shutdown', 'sendfile', 'follow-coroutine-ctx'])
const UNIX_FEATURES: ReadonlySet<QIOChannelFeature> = new Set([...FEATURES, 'fd-pass'])
/** With no room to read into, node:net says that there is something to read, and leaves it there. */
const NO_ROOM = Buffer.alloc(1).subarray(0, 0)

export class QIOChannelSocket extends QIOChannel {
  readonly features: ReadonlySet<QIOChannelFeature>
  readonly #fd: number
  readonly #socket: net.Socket
  readonly #window: ReceiveWindow = receiveWindow()
  readonly #closed: Promise<void>
  #follows = false
  /** Part of the window that node:net has just filled, while the coroutine that waited for it runs. */
  #filledStart = 0
  #filledEnd = 0
  /** Received, and not taken by whoever waited: what the next `readv` gets first. */
  #aside: Buffer | undefined
  #reader: Coroutine<unknown> | undefined
  #writer: Coroutine<unknown> | undefined
  /** Whether node:net reads. */
  #reading = false
  /** node:net has a piece that is not yet sent. */
  #sending = false
  /** The stream ends behind that piece. */
  #endsWhenSent = false
  #closing = false
  #ended = false
  /** Why nothing can be read any more. */
  #error: NBDError | undefined
  /** Why nothing can be written any more. */
  #writeError: NBDError | undefined

  /**
   * Takes over a connected socket; the channel closes it. Nothing is read before somebody reads.
   *
   * @context the thread in whose loop it is to live
   * @param fd a descriptor of this process
   */
  constructor(fd: number) {
    super()
    this.#fd = fd
    this.features = isUnixSocket(fd) ? UNIX_FEATURES : FEATURES
    // @types/node knows `onread` for net.connect only.
    const options: net.SocketConstructorOpts & { onread: net.OnReadOpts } = {
      fd,
      readable: true,
      writable: true,
      allowHalfOpen: true,
      onread: { buffer: this.#window.target, callback: (n) => this.#onRead(n) }
    }
    this.#socket = new net.Socket(options)
    // It reads from the beginning, if it is let.
    this.#socket.pause()
    this.#closed = new Promise((resolve) => this.#socket.once('close', () => resolve()))
    this.#socket.on('error', (error) =>
      this.#fail(new NBDError('transport', reason(error), { cause: error }))
    )
    this.#socket.on('end', () => this.#end())
    this.#socket.on('close', () => this.#end())
    this.#socket.setNoDelay(true)
  }

  /** A view in this thread of a socket that another thread has. @see handle */
  static attach({ fd }: SocketHandle): QIOChannelSocket {
    const channel = new QIOChannelSocket(fd)
    channel.setFollowCoroutineCtx(true)
    return channel
  }

  /**
   * Lets coroutines of several threads use the socket, each by a view of its own thread and in its own context.
   *
   * @see qio_channel_set_follow_coroutine_ctx
   */
  setFollowCoroutineCtx(on: boolean): void {
    this.#follows = on
    if (on && !this.#reader) this.#stopReading()
  }

  /**
   * What another thread needs for a view of this socket.
   *
   * @throws NBDError of kind `bug` when the channel stays with its own context; `transport` when it has ended; `request`
   *   (EMFILE)
   */
  handle(): SocketHandle {
    if (!this.#follows) throw bugError('a channel that does not follow coroutines has one view')
    this.#checkOpen()
    return { fd: duplicateFd(this.#fd) }
  }

  /**
   * Gives the connection up without ending it.
   *
   * @returns a descriptor, the caller's, and what was received and not read; the channel is closed
   * @throws NBDError of kind `transport` when the connection has ended; `bug` when it is still sending, or a coroutine
   *   waits for bytes; `request` (EMFILE)
   */
  detach(): { fd: number; unread: Buffer } {
    this.#checkWritable()
    if (this.#reader) throw bugError('a channel is detached that a coroutine reads')
    if (this.#sending) throw bugError('a channel is detached that has not sent everything')
    const fd = duplicateFd(this.#fd)
    const unread = this.takeReceived()
    this.#beginClose()
    this.#socket.destroy()
    return { fd, unread }
  }

  /** Takes away what was received and not read, for a reader in another view. */
  takeReceived(): Buffer {
    const aside = this.#aside ?? Buffer.alloc(0)
    this.#aside = undefined
    return aside
  }

  readv(iov: readonly IOVec[]): number {
    if (this.#closing) throw closedError()
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

  writev(iov: readonly IOVec[], more = false): number {
    this.#checkWritable()
    if (this.#sending) return QIO_CHANNEL_ERR_BLOCK
    const flags = more ? MSG_MORE : 0
    let result: number
    if (iov.length === 1) {
      const { memory, start, end } = iov[0]!
      result = send(this.#fd, memory.address + start, end - start, flags)
    } else {
      const count = Math.min(iov.length, MAX_GATHER)
      for (let i = 0; i < count; i++) {
        const { memory, start, end } = iov[i]!
        setGather(i, memory.address + start, end - start)
      }
      result = sendGather(this.#fd, count, count < iov.length ? MSG_MORE : flags)
    }
    if (result >= 0) return result
    if (result !== -EAGAIN) throw transportError('sending', -result)
    return this.#sendLater(iov)
  }

  /** Whether what was taken last is still on its way: nothing more can be sent before. Not when nothing can be sent at all. */
  get sending(): boolean {
    return this.#sending && !this.#writeError && !this.#closing
  }

  /**
   * Sends from a file, as far as there is room.
   *
   * @returns bytes, QIO_CHANNEL_ERR_BLOCK, or 0 when the file ends before `offset`
   * @throws NBDError of kind `transport`
   */
  sendfile(file: number, offset: number, length: number): number {
    this.#checkWritable()
    if (this.#sending) return QIO_CHANNEL_ERR_BLOCK
    const n = sendfile(this.#fd, file, offset, length)
    if (n >= 0) return n
    if (n === -EAGAIN) return QIO_CHANNEL_ERR_BLOCK
    throw transportError('sending', -n)
  }

  /**
   * As `writev` with one piece, and sends descriptors along. Only with the feature `fd-pass`.
   *
   * @param fds at most MAX_PASSED_FDS; they stay the caller's. All go, or, with QIO_CHANNEL_ERR_BLOCK, none
   * @see qio_channel_writev_full
   */
  writevFds({ memory, start, end }: IOVec, fds: readonly number[]): number {
    this.#checkWritable()
    if (this.#sending) return QIO_CHANNEL_ERR_BLOCK
    const n = sendWithFds(this.#fd, memory.address + start, end - start, fds)
    if (n >= 0) return n
    if (n === -EAGAIN) return QIO_CHANNEL_ERR_BLOCK
    throw transportError('sending', -n)
  }

  /**
   * Reads up to one piece, and the descriptors that came with it. Only with the feature `fd-pass`.
   *
   * Who expects descriptors waits by this, and not by `yield('in')`: that reads, and the kernel drops descriptors that are
   * read over.
   *
   * @returns `n`: bytes, 0 at the end of the stream; `fds`: new descriptors, closed on exec, the caller's to close
   * @throws NBDError of kind `transport`; `bug` when another coroutine reads; `request` (EMFILE)
   * @see qio_channel_readv_full
   */
  *readvFds({ memory, start, end }: IOVec): CoroutineFn<{ n: number; fds: number[] }> {
    for (;;) {
      if (this.#closing) throw closedError()
      if (this.#aside) return { n: this.#takeAside(memory.buffer, start, end), fds: [] }
      if (this.#error) throw this.#error
      if (this.#ended || this.#socket.destroyed) return { n: 0, fds: [] }
      const result = recvWithFds(this.#fd, memory.address + start, end - start)
      if (result.n >= 0) return result
      if (result.n !== -EAGAIN) throw transportError('receiving', -result.n)
      yield* this.#untilReadable()
    }
  }

  /** Waits for bytes, and leaves them in the socket. */
  *#untilReadable(): CoroutineFn {
    const co = Coroutine.current
    if (!co) throw bugError('QIOChannelSocket.readvFds outside a coroutine')
    if (this.#reader) throw bugError('two coroutines read one channel')
    this.#stopReading()
    const options: net.SocketConstructorOpts & { onread: net.OnReadOpts } = {
      fd: duplicateFd(this.#fd),
      readable: true,
      writable: false,
      onread: { buffer: NO_ROOM, callback: () => false }
    }
    const probe = new net.Socket(options)
    // ENOBUFS, or whatever recvmsg will then tell.
    probe.on('error', () => this.#wakeReader())
    probe.on('end', () => this.#wakeReader())
    probe.resume()
    this.#reader = co
    while (this.#reader === co) yield* Coroutine.yield()
    probe.removeAllListeners('end').destroy()
  }

  *yield(condition: IOCondition): CoroutineFn {
    const co = Coroutine.current
    if (!co) throw bugError('QIOChannelSocket.yield outside a coroutine')
    if (condition === 'in') yield* this.#yieldIn(co)
    else yield* this.#yieldOut(co)
  }

  wakeRead(): void {
    if (this.#follows) this.#stopReading()
    this.#wakeReader()
  }

  override setCork(on: boolean): void {
    if (!this.#socket.destroyed) setTcpCork(this.#fd, on)
  }

  override setDelay(on: boolean): void {
    this.#socket.setNoDelay(!on)
  }

  /**
   * Ends the stream for the views of all threads, and wakes who waits there: the kernel tells node:net. With one exception:
   * a writer in another view of a Unix socket that waits for room hears of `write` only when there is some. An orderly end
   * is for whoever has the turn to write; `both` is for everybody.
   */
  shutdown(mode: ShutdownMode): void {
    if (mode === 'write' && this.#sending) this.#endsWhenSent = true
    // The peer may have done so before: then there is nothing left to do.
    else if (!this.#socket.destroyed) shutdownSocket(this.#fd, mode)
    if (mode !== 'read') {
      this.#writeError ??= new NBDError('transport', 'the connection is closed')
      this.#wakeWriter()
    }
    if (mode !== 'write') this.#end()
  }

  /**
   * Sends what is left and closes. The only view of a socket also ends the stream towards the peer; one of several leaves
   * that to the others.
   *
   * @param timeoutMs for the peer to make room for what is left, which is dropped then; `shutdown('both')` drops it earlier
   */
  async close(timeoutMs = CLOSE_TIMEOUT_MS): Promise<void> {
    this.#beginClose()
    let timer: NodeJS.Timeout | undefined
    if (this.#sending) timer = setTimeout(() => this.#socket.destroy(), timeoutMs)
    else this.#endClose()
    await this.#closed
    clearTimeout(timer)
  }

  /** Nobody transfers any more. */
  #beginClose(): void {
    if (this.#closing) return
    this.#closing = true
    this.#stopReading()
    this.#aside = undefined
    this.#filledStart = this.#filledEnd = 0
    this.#wakeReader()
    this.#wakeWriter()
  }

  /** All is sent, or lost. */
  #endClose(): void {
    if (this.#socket.destroyed) return
    // A process of somebody else's may hold the socket, too.
    if (!this.#follows) shutdownSocket(this.#fd, 'write')
    this.#socket.destroy()
  }

  #checkOpen(): void {
    if (this.#closing) throw closedError()
    if (this.#socket.destroyed) throw new NBDError('transport', 'the connection is closed')
  }

  #checkWritable(): void {
    this.#checkOpen()
    if (this.#writeError) throw this.#writeError
  }

  /** @returns bytes, 0 at the end of the stream, or QIO_CHANNEL_ERR_BLOCK */
  #read(buffer: Buffer, address: number, start: number, end: number): number {
    if (this.#filledEnd > this.#filledStart) return this.#takeFilled(buffer, start, end)
    if (this.#aside) return this.#takeAside(buffer, start, end)
    if (this.#error) throw this.#error
    if (this.#ended || this.#socket.destroyed) return 0
    const n = recv(this.#fd, address + start, end - start)
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
    if (this.#filledStart + n < this.#filledEnd) {
      this.#aside = Buffer.from(from.subarray(this.#filledStart + n, this.#filledEnd))
    }
    this.#filledStart = this.#filledEnd = 0
    return n
  }

  #takeAside(buffer: Buffer, start: number, end: number): number {
    const aside = this.#aside!
    const n = aside.copy(buffer, start, 0, Math.min(end - start, aside.length))
    this.#aside = n === aside.length ? undefined : aside.subarray(n)
    return n
  }

  /** The socket is full: node:net gets the first piece, and says when there is room. */
  #sendLater(iov: readonly IOVec[]): number {
    const piece = Buffer.allocUnsafe(WAIT_PIECE)
    let length = 0
    for (const { memory, start, end } of iov) {
      if (length === WAIT_PIECE) break
      length += memory.buffer.copy(piece, length, start, end)
    }
    this.#sending = true
    this.#socket.write(piece.subarray(0, length), (error) => {
      this.#sending = false
      if (error) this.#fail(new NBDError('transport', `sending: ${reason(error)}`, { cause: error }))
      else if (this.#endsWhenSent) shutdownSocket(this.#fd, 'write')
      this.#wakeWriter()
      if (this.#closing) this.#endClose()
    })
    return length
  }

  *#yieldIn(co: Coroutine<unknown>): CoroutineFn {
    if (this.#reader) throw bugError('two coroutines read one channel')
    if (this.#aside || this.#ended || this.#error || this.#closing) return
    this.#reader = co
    if (!this.#reading) {
      this.#reading = true
      this.#socket.resume()
    }
    while (this.#reader === co) yield* Coroutine.yield()
  }

  *#yieldOut(co: Coroutine<unknown>): CoroutineFn {
    if (this.#writer) throw bugError('two coroutines write one channel')
    if (!this.#sending || this.#writeError || this.#closing) return
    this.#writer = co
    while (this.#writer === co) yield* Coroutine.yield()
  }

  #stopReading(): void {
    if (!this.#reading) return
    this.#reading = false
    this.#socket.pause()
  }

  /** node:net has read `n` bytes into the window. @returns whether it is to go on */
  #onRead(n: number): boolean {
    if (this.#closing) return false
    this.#filledStart = WINDOW_OFFSET
    this.#filledEnd = WINDOW_OFFSET + n
    const context = AioContext.current()
    context.enterHandler()
    this.#wakeReader()
    context.leaveHandler()
    // Nobody has waited, or not for that.
    if (this.#filledEnd > this.#filledStart) {
      const rest = Buffer.from(this.#window.memory.buffer.subarray(this.#filledStart, this.#filledEnd))
      this.#aside = this.#aside ? Buffer.concat([this.#aside, rest]) : rest
      this.#filledStart = this.#filledEnd = 0
    }
    // A view among several reads for whoever waits, and no more: the next bytes may be another's.
    this.#reading &&= this.#reader !== undefined || !(this.#follows || this.#aside)
    return this.#reading
  }

  #end(): void {
    this.#ended = true
    this.#wakeReader()
    if (this.#socket.destroyed) this.#wakeWriter()
  }

  #fail(error: NBDError): void {
    this.#error ??= error
    this.#writeError ??= error
    this.#wakeReader()
    this.#wakeWriter()
  }

  #wakeReader(): void {
    const reader = this.#reader
    this.#reader = undefined
    reader?.wake()
  }

  #wakeWriter(): void {
    const writer = this.#writer
    this.#writer = undefined
    writer?.wake()
  }
}

const closedError = (): NBDError => new NBDError('transport', 'the channel is closed')

const transportError = (what: string, errno: number): NBDError =>
  new NBDError('transport', `${what}: ${errnoText(errno)}`, { errno })
