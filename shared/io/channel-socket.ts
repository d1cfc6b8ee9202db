/**
 * A connected stream socket (TCP, Unix or vsock) in the loop of the thread that opened it.
 *
 * Every transfer first tries the system call; only when that would have to wait does node:net wait, in this thread's loop,
 * and the coroutine with it. How, differs between the ways in and out: see `SocketReader` and `SocketWriter`.
 *
 * Several threads use one socket by a view each (`handle`, `attach`), with a descriptor of its own: whoever yields does so
 * in the loop of its own thread. They agree by locks on who reads and who writes; a view that nobody waits on reads nothing.
 *
 * @see QEMU io/channel-socket.c; qio_channel_set_follow_coroutine_ctx
 */
import * as net from 'node:net'
import { Coroutine, type CoroutineFn } from '../coroutine/coroutine.ts'
import { bugError, NBDError } from '../errors/nbd-error.ts'
import { errnoOf, reason } from '../errors/system-error.ts'
import { duplicateFd } from '../syscall/fd.ts'
import {
  AF_UNIX,
  setSendBuffer,
  setTcpCork,
  shutdownSocket,
  socketFamily,
  unreadByPeer
} from '../syscall/socket.ts'
import {
  QIOChannel,
  type IOCondition,
  type IOVec,
  type QIOChannelFeature,
  type ShutdownMode
} from './channel.ts'
import { openForLoop } from '../aio/open-for-loop.ts'
import { receiveWindow } from './receive-window.ts'
import { SocketReader } from './socket-reader.ts'
import { SocketWriter } from './socket-writer.ts'

/** For the peer to make room for what is left, when the channel is closed. */
const CLOSE_TIMEOUT_MS = 10_000

/** A socket as another thread is given it: postable, for one `attach`. */
export interface SocketHandle {
  /** The receiver's to close. */
  fd: number
}

/** As much as TCP grants itself; the system may grant less. */
const UNIX_SEND_BUFFER = 4 * 1024 * 1024
const FEATURES: ReadonlySet<QIOChannelFeature> = new Set([
  'shutdown',
  'sendfile',
  'follow-coroutine-ctx',
  'poll'
])
const UNIX_FEATURES: ReadonlySet<QIOChannelFeature> = new Set([...FEATURES, 'fd-pass'])

export class QIOChannelSocket extends QIOChannel {
  readonly features: ReadonlySet<QIOChannelFeature>
  readonly #fd: number
  readonly #socket: net.Socket
  readonly #in: SocketReader
  readonly #out: SocketWriter
  readonly #closed: Promise<void>
  #follows = false
  #closing = false

  /**
   * Takes over a connected socket; the channel closes it. Nothing is read before somebody reads.
   *
   * @context the thread in whose loop it is to live
   * @param fd a descriptor of this process
   */
  constructor(fd: number) {
    super()
    this.#fd = fd
    this.features = socketFamily(fd) === AF_UNIX ? UNIX_FEATURES : FEATURES
    // It asks for memory before there is a reader, too.
    const buffer = (): Buffer =>
      (this.#in as SocketReader | undefined)?.target ?? receiveWindow().target(Infinity)
    // @types/node knows `onread` for net.connect only.
    const options: net.SocketConstructorOpts & { onread: net.OnReadOpts } = {
      fd,
      readable: true,
      writable: true,
      allowHalfOpen: true,
      onread: { buffer, callback: (n) => this.#in.onRead(n) }
    }
    this.#socket = openForLoop(fd, () => new net.Socket(options))
    // It reads from the beginning, if it is let.
    this.#socket.pause()
    this.#closed = new Promise((resolve) => this.#socket.once('close', () => resolve()))
    this.#in = new SocketReader(fd, this.#socket)
    this.#out = new SocketWriter(fd, this.#socket, {
      failed: (error) => this.#fail(error),
      done: () => {
        if (this.#closing) this.#endClose()
      }
    })
    this.#socket.on('error', (error) => {
      const errno = errnoOf(error)
      const options = errno === undefined ? { cause: error } : { errno, cause: error }
      this.#fail(new NBDError('transport', reason(error), options))
    })
    this.#socket.on('end', () => this.#end())
    this.#socket.on('close', () => this.#end())
    this.#socket.setNoDelay(true)
  }

  /**
   * Lets as much wait in a Unix socket to be received as NBD is served best by: the kernel's default is less than one large
   * reply. TCP adapts by itself.
   *
   * @see qio_channel_socket_set_send_buffer, nbd_set_socket_send_buffer
   */
  enlargeSendBuffer(): void {
    if (this.features.has('fd-pass')) setSendBuffer(this.#fd, UNIX_SEND_BUFFER)
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
    this.#in.shares = on
  }

  /**
   * What another thread needs for a view of this socket.
   *
   * @throws NBDError of kind `bug` when the channel stays with its own context; `transport` when it has ended; `request`
   *   (EMFILE)
   */
  handle(): SocketHandle {
    if (!this.#follows) throw bugError('a channel that does not follow coroutines has one view')
    this.#out.checkOpen()
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
    this.#out.check()
    if (this.#in.isAwaited) throw bugError('a channel is detached that a coroutine reads')
    if (this.#out.hasPiece) throw bugError('a channel is detached that has not sent everything')
    const fd = duplicateFd(this.#fd)
    const unread = this.takeReceived()
    this.#beginClose()
    this.#socket.destroy()
    return { fd, unread }
  }

  /** Takes away what was received and not read, for a reader in another view. */
  takeReceived(): Buffer {
    return this.#in.takeReceived()
  }

  readv(iov: readonly IOVec[]): number {
    return this.#in.readv(iov)
  }

  override unreadByPeer(): number | undefined {
    return this.features.has('fd-pass') ? unreadByPeer(this.#fd) : undefined
  }

  override drop(length: number): number {
    return this.#in.drop(length)
  }

  override limitWait(bytes: number): void {
    this.#in.waitLimit = bytes
  }

  writev(iov: readonly IOVec[], more = false): number {
    return this.#out.writev(iov, more)
  }

  /** Whether what was taken last is still on its way: nothing more can be sent before. Not when nothing can be sent at all. */
  get sending(): boolean {
    return this.#out.sending
  }

  /**
   * Sends from a file, as far as there is room; as with `writev`, `yield` then waits for more.
   *
   * @returns bytes, QIO_CHANNEL_ERR_BLOCK, or 0 when the file ends before `offset`
   * @throws NBDError of kind `transport`
   */
  sendfile(file: number, offset: number, length: number): number {
    return this.#out.sendfile(file, offset, length)
  }

  /**
   * As `sendfile`, of what is in a pipe.
   *
   * @param length at most what is in it
   */
  splice(pipe: number, length: number): number {
    return this.#out.splice(pipe, length)
  }

  /**
   * As `writev` with one piece, and sends descriptors along. Only with the feature `fd-pass`.
   *
   * @param fds at most MAX_PASSED_FDS; they stay the caller's. All go, or, with QIO_CHANNEL_ERR_BLOCK, none
   * @see qio_channel_writev_full
   */
  writevFds(piece: IOVec, fds: readonly number[]): number {
    return this.#out.writevFds(piece, fds)
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
  readvFds(piece: IOVec): CoroutineFn<{ n: number; fds: number[] }> {
    return this.#in.readvFds(piece)
  }

  yield(condition: IOCondition): CoroutineFn {
    const co = Coroutine.current
    if (!co) throw bugError('QIOChannelSocket.yield outside a coroutine')
    return condition === 'in' ? this.#in.yield(co) : this.#out.yield(co)
  }

  wakeRead(): void {
    this.#in.wakeRead()
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
    const later = mode === 'write' && this.#out.endBehindPiece()
    // The peer may have done so before: then there is nothing left to do.
    if (!later && !this.#socket.destroyed) shutdownSocket(this.#fd, mode)
    if (mode !== 'read') {
      this.#out.fail(new NBDError('transport', 'the connection is closed'))
      this.#out.wake()
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
    if (this.#out.hasPiece) timer = setTimeout(() => this.#socket.destroy(), timeoutMs)
    else this.#endClose()
    await this.#closed
    clearTimeout(timer)
  }

  /** Nobody transfers any more. */
  #beginClose(): void {
    if (this.#closing) return
    this.#closing = true
    this.#out.close()
    this.#in.close()
    this.#out.wake()
  }

  /** All is sent, or lost. */
  #endClose(): void {
    if (this.#socket.destroyed) return
    // A process of somebody else's may hold the socket, too.
    if (!this.#follows) shutdownSocket(this.#fd, 'write')
    this.#socket.destroy()
  }

  #end(): void {
    this.#in.end()
    if (this.#socket.destroyed) this.#out.wake()
  }

  #fail(error: NBDError): void {
    this.#out.fail(error)
    this.#in.fail(error)
    this.#out.wake()
  }
}
