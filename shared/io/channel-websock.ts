/**
 * A WebSocket over another channel: what is written goes out in binary messages, and what comes in binary messages is
 * read as one stream of bytes.
 *
 * Whoever reads also answers pings and the peer's farewell.
 *
 * @see RFC 6455; QIOChannelWebsock in QEMU's io/channel-websock.c
 */
import type { CoroutineFn } from '../coroutine/coroutine.ts'
import type { NBDError } from '../errors/nbd-error.ts'
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
import { asTransportError } from './transport-errors.ts'
import { CLOSE_NORMAL, WebsockViolation, type WebsockSide } from './websock-frame.ts'
import {
  answerRequest,
  checkReply,
  handshakeError,
  MAX_HANDSHAKE_SIZE,
  newKey,
  tooLarge,
  upgradeRequest
} from './websock-handshake.ts'
import { WebsockReader } from './websock-reader.ts'
import { WebsockWriter } from './websock-writer.ts'

/** Payload of a frame that is received, unless another limit is given. It is not kept: this bounds nonsense, not memory. */
const DEFAULT_MAX_FRAME_SIZE = 64 * 1024 * 1024
/** How long `close` tries to say farewell. */
const CLOSE_TIMEOUT_MS = 1000

export interface WebsockOptions {
  path?: string
  /** Bytes of payload that a frame of the peer may have. */
  maxFrameSize?: number
}

export class QIOChannelWebsock extends QIOChannel {
  override readonly features: ReadonlySet<QIOChannelFeature>
  readonly #master: QIOChannel
  readonly #in: WebsockReader
  readonly #out: WebsockWriter
  readonly #ends = new ChannelEnds()
  readonly #waiters = new IOWaiters()
  /** Why nothing can be read any more. */
  #error: NBDError | undefined
  /** The last `readv` took all that there was. */
  #drained = false
  #closing: Promise<void> | undefined

  private constructor(master: QIOChannel, side: WebsockSide, maxFrameSize = DEFAULT_MAX_FRAME_SIZE) {
    super()
    this.#master = master
    this.features = new Set(master.features.has('shutdown') ? ['shutdown'] : [])
    this.#out = new WebsockWriter(master, side, () => this.#waiters.wake('out'))
    this.#in = new WebsockReader(master, side, maxFrameSize, {
      ping: (payload) => this.#out.pong(payload),
      close: (code) => this.#out.sayFarewell(code)
    })
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
    const request = yield* channel.#in.readHead()
    const { text, refused } = request === undefined ? tooLarge() : answerRequest(request, options.path ?? '/')
    yield* channel.#out.writeHead(text)
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
    yield* channel.#out.writeHead(upgradeRequest(host, options.path ?? '/', key))
    const reply = yield* channel.#in.readHead()
    if (reply === undefined) throw handshakeError(`the reply is longer than ${MAX_HANDSHAKE_SIZE} bytes`)
    checkReply(reply, key)
    return channel
  }

  override readv(iov: readonly IOVec[]): number {
    if (!this.#ends.mayRead()) return 0
    if (this.#error) throw this.#error
    if (iovLength(iov) === 0) return 0
    try {
      const n = this.#in.readv(iov)
      this.#drained = n === QIO_CHANNEL_ERR_BLOCK
      return n
    } catch (error) {
      throw this.#fail(error)
    }
  }

  /** Of what was taken, some may still wait for room; it goes on by itself. */
  override writev(iov: readonly IOVec[]): number {
    this.#ends.checkWrite()
    this.#out.check()
    if (this.#error) throw this.#error
    return this.#out.writev(iov)
  }

  override *yield(condition: IOCondition): CoroutineFn {
    if (condition === 'out') {
      if (!this.#out.flushing) return yield* this.#waiters.waitTurn('out')
      return yield* this.#waiters.wait('out')
    }
    const over = this.#in.ended || this.#error !== undefined || this.#ends.closed
    if (over || (this.#in.hasInput && !this.#drained)) {
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
    const { flushing } = this.#out
    if (mode === 'write' && flushing) void flushing.then(() => this.#master.shutdown('write'))
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
    this.#out.sayFarewell(CLOSE_NORMAL)
    const timer = setTimeout(() => this.#master.shutdown('both'), CLOSE_TIMEOUT_MS)
    while (this.#out.flushing) await this.#out.flushing
    clearTimeout(timer)
    await this.#master.close()
  }

  #fail(error: unknown): NBDError {
    const failed = asTransportError(error)
    if (failed instanceof WebsockViolation) this.#out.sayFarewell(failed.code)
    return (this.#error = failed)
  }
}
