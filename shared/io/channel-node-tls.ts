/**
 * TLS by Node's tls module, over a connected socket or any stream.
 *
 * This gives it the interface of a channel, and bounds: what was received ahead of the reader stops the reading, what was not
 * taken by the socket stops the writer.
 *
 * @context the thread that made it
 */
import * as net from 'node:net'
import type { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import { Coroutine, type CoroutineFn } from '../coroutine/coroutine.ts'
import { bugError, NBDError } from '../errors/nbd-error.ts'
import {
  iovLength,
  QIO_CHANNEL_ERR_BLOCK,
  type IOCondition,
  type IOVec,
  type QIOChannelFeature,
  type ShutdownMode
} from './channel.ts'
import {
  QIOChannelTLS,
  TLS_CLOSE_TIMEOUT_MS,
  TLS_HANDSHAKE_TIMEOUT_MS,
  type DetachedSocket,
  type TLSMaster
} from './channel-tls.ts'
import { IOWaiters } from './io-waiters.ts'
import { openForLoop } from '../aio/open-for-loop.ts'
import type { TLSCreds } from './tls-creds.ts'
import { tlsError, type Peer } from './tls-error.ts'
import { startClientHandshake, startServerHandshake } from './tls-handshake.ts'
import { closedError } from './transport-errors.ts'
import { pooledPiece, WriteAhead } from './write-ahead.ts'

/**
 * Decrypted bytes that wait for a reader before the socket is not read any more; what is on its way may come on top. Several
 * large requests, because stopping and going on costs two system calls and a turn of the loop.
 */
const READ_AHEAD = 1024 * 1024
/** Two records of TLS 1.3 are longer than what is in them by so much at the least: headers, types and tags. */
const TWO_RECORDS = 44

type Handshake = (done: (outcome: TLSSocket | NBDError) => void) => void

export class QIOChannelNodeTLS extends QIOChannelTLS {
  override readonly features: ReadonlySet<QIOChannelFeature> = new Set(['shutdown'])
  readonly #peer: Peer
  /** Owns the descriptor. */
  readonly #socket: Duplex
  readonly #closed: Promise<void>
  #handshake: Handshake | undefined
  /** The handshake has begun, and not ended. */
  #shaking = false
  /** From the end of the handshake on. */
  #tls: TLSSocket | undefined
  /** Decrypted, and not read. */
  #received: Buffer[] = []
  #receivedBytes = 0
  /** What the socket had read when the last of them came. */
  #encrypted = 0
  #ended = false
  /** Why nothing can be written any more. */
  #unwritable: string | undefined
  #closing = false
  #error: NBDError | undefined
  readonly #waiters = new IOWaiters()
  readonly #writeAhead = new WriteAhead(() => this.#waiters.wake('out'), pooledPiece)

  private constructor(peer: Peer, socket: Duplex, handshake: Handshake) {
    super()
    this.#peer = peer
    this.#socket = socket
    this.#closed = new Promise((resolve) => this.#socket.once('close', () => resolve()))
    this.#socket.on('error', (error) => this.#fail(error))
    // A handshake that failed tells why, a moment later.
    this.#socket.on('close', () => this.#shaking || this.#close())
    this.#handshake = handshake
  }

  /** @see newTLSServer */
  static newServer(detached: DetachedSocket, creds: TLSCreds): QIOChannelNodeTLS {
    const socket = socketOf(detached)
    return new QIOChannelNodeTLS('client', socket, (done) => startServerHandshake(socket, creds, done))
  }

  /** @see newTLSClient */
  static newClient(master: TLSMaster, creds: TLSCreds, hostname: string): QIOChannelNodeTLS {
    const stream = 'stream' in master ? master.stream : socketOf(master)
    return new QIOChannelNodeTLS('server', stream, (done) =>
      startClientHandshake(stream, creds, hostname, done)
    )
  }

  override *handshake(timeoutMs = TLS_HANDSHAKE_TIMEOUT_MS): CoroutineFn {
    const start = this.#handshake
    if (!start) throw bugError('a second handshake on one TLS channel')
    if (!Coroutine.current) throw bugError('QIOChannelTLS.handshake outside a coroutine')
    this.#handshake = undefined
    if (this.#socket.destroyed) throw new NBDError('transport', 'TLS handshake: the connection is closed')
    const timer = setTimeout(
      () => this.#secured(new NBDError('transport', `TLS handshake: it did not end within ${timeoutMs} ms`)),
      timeoutMs
    )
    this.#shaking = true
    start((outcome) => this.#secured(outcome))
    while (!this.#tls && !this.#error && !this.#ended) yield* this.#waiters.wait('in')
    this.#shaking = false
    clearTimeout(timer)
    if (this.#error) throw this.#error
    if (!this.#tls) throw new NBDError('transport', 'TLS handshake: the channel is closed')
  }

  override get protocol(): string | undefined {
    return this.#tls?.getProtocol() ?? undefined
  }

  override readv(iov: readonly IOVec[]): number {
    if (this.#closing) throw closedError()
    if (this.#receivedBytes > 0) return this.#take(iov)
    if (this.#error) throw this.#error
    if (this.#ended) return 0
    this.#session()
    return iovLength(iov) === 0 ? 0 : QIO_CHANNEL_ERR_BLOCK
  }

  override writev(iov: readonly IOVec[]): number {
    const tls = this.#session()
    if (this.#unwritable !== undefined) throw new NBDError('transport', this.#unwritable)
    return this.#writeAhead.writev(tls, iov)
  }

  override *yield(condition: IOCondition): CoroutineFn {
    if (!Coroutine.current) throw bugError('QIOChannelTLS.yield outside a coroutine')
    if (!this.#isReady(condition)) yield* this.#waiters.wait(condition)
  }

  override wakeRead(): void {
    this.#waiters.wake('in')
  }

  override shutdown(mode: ShutdownMode): void {
    if (mode !== 'write') {
      this.#received = []
      this.#receivedBytes = 0
      this.#ended = true
      this.#tls?.pause()
    }
    if (mode !== 'read') {
      this.#unwritable ??= 'the channel is shut down'
      this.#tls?.end()
    }
    if (mode === 'both') this.#socket.destroy()
    this.#waiters.wakeAll()
  }

  /** Sends what was written, and close_notify behind it. @see qio_channel_tls_close */
  override async close(): Promise<void> {
    this.#closing = true
    this.#unwritable = 'the channel is closed'
    this.#end()
    this.#waiters.wake('out')
    const timer = setTimeout(() => this.#socket.destroy(), TLS_CLOSE_TIMEOUT_MS)
    if (this.#tls && !this.#tls.destroyed) this.#tls.end(() => this.#socket.destroy())
    else this.#socket.destroy()
    await this.#closed
    clearTimeout(timer)
  }

  override setCork(on: boolean): void {
    if (on) this.#tls?.cork()
    else this.#tls?.uncork()
  }

  override setDelay(on: boolean): void {
    if (this.#socket instanceof net.Socket) this.#socket.setNoDelay(!on)
  }

  /** The encrypted socket. */
  #session(): TLSSocket {
    if (this.#error) throw this.#error
    if (!this.#tls) throw bugError('a TLS channel is used before its handshake')
    return this.#tls
  }

  #secured(outcome: TLSSocket | NBDError): void {
    if (outcome instanceof Error) {
      this.#fail(outcome)
      this.#socket.destroy()
      return
    }
    outcome.on('error', (error: Error) => this.#fail(error))
    if (this.#error || this.#ended) {
      outcome.destroy()
      return
    }
    this.#tls = outcome
    // Only now: until here the end of the stream was the end of the handshake.
    outcome.allowHalfOpen = true
    outcome.on('data', (bytes: Buffer) => this.#onData(bytes))
    outcome.on('end', () => this.#end())
    this.#waiters.wake('in')
  }

  #onData(bytes: Buffer): void {
    if (this.#ended) return
    this.#received.push(bytes)
    this.#receivedBytes += bytes.length
    if (this.#receivedBytes >= READ_AHEAD) this.#tls!.pause()
    if (this.#cameAlone(bytes.length)) this.#waiters.wake('in')
    // Not at once: one read of the socket brings many records, and replies to all of them may leave together.
    else this.#waiters.wakeSoon('in')
  }

  /** Whether the socket has read no more than the one record that has brought `length` bytes, or not much more. */
  #cameAlone(length: number): boolean {
    if (!(this.#socket instanceof net.Socket)) return false
    const encrypted = this.#socket.bytesRead
    const read = encrypted - this.#encrypted
    this.#encrypted = encrypted
    return read > 0 && read < length + TWO_RECORDS
  }

  #take(iov: readonly IOVec[]): number {
    let taken = 0
    for (const { memory, start, end } of iov) {
      for (let at = start; at < end && this.#receivedBytes > 0;) {
        const head = this.#received[0]!
        const n = head.copy(memory.buffer, at, 0, Math.min(head.length, end - at))
        at += n
        taken += n
        this.#receivedBytes -= n
        if (n === head.length) this.#received.shift()
        else this.#received[0] = head.subarray(n)
      }
    }
    if (this.#receivedBytes < READ_AHEAD / 2 && this.#tls?.isPaused()) this.#tls.resume()
    return taken
  }

  #isReady(condition: IOCondition): boolean {
    if (this.#error) return true
    if (condition === 'in') return this.#receivedBytes > 0 || this.#ended
    return this.#writeAhead.hasRoom || this.#unwritable !== undefined
  }

  #end(): void {
    this.#ended = true
    this.#waiters.wake('in')
  }

  /** Both ways are closed. */
  #close(): void {
    this.#unwritable ??= 'the connection is closed'
    this.#end()
    this.#waiters.wake('out')
  }

  #fail(error: Error): void {
    this.#error ??= NBDError.is(error) ? error : tlsError('TLS', error, this.#peer)
    this.#close()
  }
}

function socketOf({ fd, unread }: DetachedSocket): net.Socket {
  const socket = openForLoop(fd, () => new net.Socket({ fd, readable: true, writable: true }))
  socket.setNoDelay(true)
  socket.pause()
  if (unread.length > 0) socket.unshift(unread)
  return socket
}
