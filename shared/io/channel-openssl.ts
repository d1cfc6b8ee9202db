/**
 * TLS over a socket, by OpenSSL: it decrypts into the memory where the bytes are wanted.
 *
 * What was encrypted and finds no room in the socket is sent by a coroutine of its own; until it is gone, nothing more is
 * taken.
 *
 * @context the thread that made it
 * @see QEMU io/channel-tls.c
 */
import * as net from 'node:net'
import { constants } from 'node:os'
import * as tls from 'node:tls'
import { Coroutine, type CoroutineFn } from '../coroutine/coroutine.ts'
import { bugError, NBDError } from '../errors/nbd-error.ts'
import { closeFd } from '../syscall/fd.ts'
import { Memory } from '../syscall/memory.ts'
import type { OpenSSL } from '../syscall/openssl.ts'
import {
  iovLength,
  QIO_CHANNEL_ERR_BLOCK,
  type IOCondition,
  type IOVec,
  type QIOChannelFeature,
  type ShutdownMode
} from './channel.ts'
import { QIOChannelSocket } from './channel-socket.ts'
import {
  QIOChannelTLS,
  TLS_CLOSE_TIMEOUT_MS,
  TLS_HANDSHAKE_TIMEOUT_MS,
  type DetachedSocket
} from './channel-tls.ts'
import { IOWaiters } from './io-waiters.ts'
import type { TLSCreds } from './tls-creds.ts'
import { tlsError, type Peer } from './tls-error.ts'
import { RECORD_SIZE, TLSSession } from './tls-session.ts'
import { asTransportError, closedError } from './transport-errors.ts'

/** How a connection goes. */
const lost = new Map([
  [constants.errno.ECONNRESET, 'ECONNRESET'],
  [constants.errno.EPIPE, 'EPIPE']
])

/** Where small pieces come together for one record. */
let record: Memory | undefined

export class QIOChannelOpenSSL extends QIOChannelTLS {
  override readonly features: ReadonlySet<QIOChannelFeature> = new Set(['shutdown', 'poll'])
  readonly #peer: Peer
  readonly #creds: TLSCreds
  /** That the server's certificate must be for. */
  readonly #hostname: string | undefined
  readonly #master: QIOChannelSocket
  readonly #session: TLSSession
  #began = false
  #secured = false
  #protocol: string | undefined
  /** Received before the channel was there. */
  #unread: Buffer
  /** The session has decrypted all that it was given. */
  #drained = true
  /** The socket likely has more than was received last. */
  #more = false
  /** Nothing more is to be read. */
  #ended = false
  /** Why nothing can be written any more. */
  #unwritable: string | undefined
  /** Why nothing can be transferred any more, or nothing sent: then there may be something to read. */
  #error: NBDError | undefined
  #sendError: NBDError | undefined
  #closing: Promise<void> | undefined
  #corked = false
  /** The stream ends behind what is to be sent. */
  #endsWhenSent = false
  /** A coroutine sends what found no room; and its end. */
  #sending = false
  #sent: Promise<void> | undefined
  readonly #waiters = new IOWaiters()

  private constructor(
    session: TLSSession,
    socket: DetachedSocket,
    peer: Peer,
    creds: TLSCreds,
    hostname?: string
  ) {
    super()
    this.#session = session
    this.#peer = peer
    this.#creds = creds
    this.#hostname = hostname
    this.#unread = socket.unread
    this.#master = new QIOChannelSocket(socket.fd)
    this.#master.limitWait(session.room.end)
  }

  /** @see newTLSServer */
  static newServer(openssl: OpenSSL, socket: DetachedSocket, creds: TLSCreds): QIOChannelOpenSSL {
    const session = openSession(socket, () => new TLSSession(openssl, creds, 'client'))
    return new QIOChannelOpenSSL(session, socket, 'client', creds)
  }

  /** @param creds of which OpenSSL makes a context: see `hasContext` @see newTLSClient */
  static newClient(
    openssl: OpenSSL,
    socket: DetachedSocket,
    creds: TLSCreds,
    hostname: string
  ): QIOChannelOpenSSL {
    // An address must not stand in this extension (RFC 6066).
    const servername = net.isIP(hostname) === 0 ? hostname : undefined
    const session = openSession(socket, () => new TLSSession(openssl, creds, 'server', servername))
    return new QIOChannelOpenSSL(session, socket, 'server', creds, hostname)
  }

  override *handshake(timeoutMs = TLS_HANDSHAKE_TIMEOUT_MS): CoroutineFn {
    if (this.#began) throw bugError('a second handshake on one TLS channel')
    if (!Coroutine.current) throw bugError('QIOChannelTLS.handshake outside a coroutine')
    this.#began = true
    let late = false
    const timer = setTimeout(() => {
      late = true
      this.#master.shutdown('both')
    }, timeoutMs)
    try {
      yield* this.#shakeHands()
      this.#checkHostname()
      this.#drained = !this.#session.hasInput
      this.#protocol = this.#session.protocol
      this.#secured = true
    } catch (error) {
      this.#error = late
        ? new NBDError('transport', `TLS handshake: it did not end within ${timeoutMs} ms`)
        : this.#handshakeError(error)
      throw this.#error
    } finally {
      clearTimeout(timer)
    }
  }

  override get protocol(): string | undefined {
    return this.#protocol
  }

  override readv(iov: readonly IOVec[]): number {
    if (this.#closing) throw closedError()
    if (this.#ended) return 0
    this.#check()
    let total = 0
    for (const { memory, start, end } of iov) {
      for (let at = start; at < end;) {
        const n = this.#read(memory.address + at, end - at, total)
        if (n <= 0) return total > 0 ? total : n
        at += n
        total += n
      }
    }
    return total
  }

  override writev(iov: readonly IOVec[], more = false): number {
    if (this.#unwritable !== undefined) throw new NBDError('transport', this.#unwritable)
    this.#check()
    if (this.#sendError) throw this.#sendError
    const wanted = iovLength(iov)
    let taken = 0
    while (taken < wanted && !this.#sending) {
      const n = this.#encrypt(iov, taken, this.#session.writable)
      taken += n
      if (!this.#corked || n === 0) this.#send(more && taken === wanted)
    }
    return taken > 0 || wanted === 0 ? taken : QIO_CHANNEL_ERR_BLOCK
  }

  override *yield(condition: IOCondition): CoroutineFn {
    if (!Coroutine.current) throw bugError('QIOChannelTLS.yield outside a coroutine')
    if (this.#error || this.#closing) return
    if (condition === 'in') {
      if (this.#drained && !this.#ended && this.#unread.length === 0) yield* this.#master.yield('in')
    } else if (this.#sending && this.#unwritable === undefined) yield* this.#waiters.wait('out')
  }

  override wakeRead(): void {
    this.#master.wakeRead()
  }

  override shutdown(mode: ShutdownMode): void {
    if (mode !== 'write') this.#ended = true
    if (mode !== 'read') {
      this.#unwritable ??= 'the channel is shut down'
      if (mode === 'write') this.#endSession()
      else this.#master.shutdown('both')
    }
    this.#master.wakeRead()
    this.#waiters.wakeAll()
  }

  /** Sends what was written, and close_notify behind it. @see qio_channel_tls_close */
  override close(): Promise<void> {
    this.#unwritable = 'the channel is closed'
    this.#closing ??= this.#close()
    this.#waiters.wakeAll()
    return this.#closing
  }

  override setCork(on: boolean): void {
    this.#corked = on
    if (!on && this.#secured) this.#trySend()
  }

  override setDelay(on: boolean): void {
    this.#master.setDelay(on)
  }

  /** @throws NBDError when nothing can be transferred */
  #check(): void {
    if (this.#error) throw this.#error
    if (!this.#secured) throw bugError('a TLS channel is used before its handshake')
  }

  *#shakeHands(): CoroutineFn {
    for (;;) {
      const done = this.#step()
      while (this.#sending) yield* this.#waiters.wait('out')
      if (this.#sendError) throw this.#sendError
      if (done) return
      for (;;) {
        const n = this.#ended || this.#closing ? 0 : this.#fill()
        if (n > 0) break
        if (n === 0) throw tlsError('TLS handshake', 'ECONNRESET', this.#peer, this.#creds)
        yield* this.#master.yield('in')
      }
    }
  }

  /** @returns whether the handshake is done @throws what it has failed with; the peer is told */
  #step(): boolean {
    let done: boolean
    try {
      done = this.#session.handshake()
    } catch (error) {
      this.#trySend()
      throw error
    }
    this.#send(false)
    return done
  }

  /** As `#send`; if that fails, the next `writev` tells. */
  #trySend(): void {
    try {
      if (!this.#sending) this.#send(false)
    } catch {
      // Kept.
    }
  }

  #handshakeError(error: unknown): NBDError {
    if (this.#ended || this.#closing) return new NBDError('transport', 'TLS handshake: the channel is closed')
    const failed = asTransportError(error)
    if (failed.kind !== 'transport') return failed
    const code = lost.get(failed.errno ?? 0)
    if (code !== undefined) return tlsError('TLS handshake', code, this.#peer, this.#creds)
    return new NBDError('transport', `TLS handshake: ${failed.message}`, { cause: error })
  }

  /** OpenSSL has verified who signed it, if that was asked for. */
  #checkHostname(): void {
    const { psk, verifyPeer } = this.#creds
    if (this.#hostname === undefined || verifyPeer === false || psk) return
    const certificate = this.#session.peerCertificate
    if (!certificate) throw new NBDError('protocol', 'TLS handshake: the server has no certificate')
    const error = tls.checkServerIdentity(this.#hostname, certificate.toLegacyObject())
    if (error) throw tlsError('TLS handshake', error, 'server', this.#creds)
  }

  /**
   * As `readv`, of one record at the most.
   *
   * @param total bytes that were read in this call of `readv`: with some, none are received that may not be there
   */
  #read(address: number, length: number, total: number): number {
    try {
      for (;;) {
        if (!this.#drained) {
          const n = this.#session.read(address, length)
          if (n !== QIO_CHANNEL_ERR_BLOCK) return n
          this.#drained = true
        }
        if (total > 0 && !this.#more) return QIO_CHANNEL_ERR_BLOCK
        const n = this.#fill()
        if (n <= 0) return n
      }
    } catch (error) {
      this.#error = asTransportError(error)
      this.#trySend()
      if (total === 0) throw this.#error
      return 0
    }
  }

  /** Receives what is there, as far as there is room. @returns as `readv` */
  #fill(): number {
    const { room } = this.#session
    let n: number
    if (this.#unread.length > 0) {
      n = this.#unread.copy(room.memory.buffer, 0, 0, room.end)
      this.#unread = this.#unread.subarray(n)
    } else n = this.#master.readv([room])
    this.#more = n === room.end
    if (n <= 0) return n
    this.#session.received(n)
    this.#drained = false
    return n
  }

  /**
   * Encrypts up to `room` bytes of `iov`, from `skip` on. Records are the fewer the more goes into one.
   *
   * @returns how many
   */
  #encrypt(iov: readonly IOVec[], skip: number, room: number): number {
    record ??= Memory.allocate(RECORD_SIZE)
    let gathered = 0
    let left = room
    for (const { memory, start, end } of iov) {
      let at = start + Math.min(skip, end - start)
      skip -= at - start
      while (at < end && left > 0) {
        const n = Math.min(end - at, left)
        if (gathered === 0 && n >= RECORD_SIZE) {
          const whole = n - (n % RECORD_SIZE)
          this.#session.write(memory.address + at, whole)
          at += whole
          left -= whole
          continue
        }
        const part = Math.min(n, RECORD_SIZE - gathered)
        memory.buffer.copy(record.buffer, gathered, at, at + part)
        at += part
        left -= part
        gathered += part
        if (gathered < RECORD_SIZE) continue
        this.#session.write(record.address, gathered)
        gathered = 0
      }
    }
    if (gathered > 0) this.#session.write(record.address, gathered)
    return room - left
  }

  /** Sends what is to be sent, as far as there is room, and sees to the rest. @param more follows at once */
  #send(more: boolean): void {
    if (this.#sendNow(more)) return
    this.#sending = true
    this.#sent = Coroutine.start(() => this.#sendRest())
  }

  /** @returns whether all is sent */
  #sendNow(more: boolean): boolean {
    try {
      return this.#sendPieces(more)
    } catch (error) {
      this.#sendError ??= this.#whatThePeerSaid() ?? asTransportError(error)
      throw this.#sendError
    }
  }

  #sendPieces(more: boolean): boolean {
    for (;;) {
      const piece = this.#session.unsent
      if (!piece) {
        if (this.#endsWhenSent) this.#master.shutdown('write')
        return true
      }
      const n = this.#master.writev([piece], more)
      if (n === QIO_CHANNEL_ERR_BLOCK) return false
      this.#session.sent(n)
    }
  }

  /** Why it takes nothing any more, if it has told before it went. */
  #whatThePeerSaid(): NBDError | undefined {
    try {
      for (;;) {
        if (!this.#drained && this.#session.peek() !== QIO_CHANNEL_ERR_BLOCK) return undefined
        this.#drained = true
        if (this.#fill() <= 0) return undefined
      }
    } catch (error) {
      const said = asTransportError(error)
      if (said.kind === 'protocol') this.#error = said
      return this.#error
    }
  }

  *#sendRest(): CoroutineFn {
    try {
      do yield* this.#master.yield('out')
      while (!this.#sendNow(false))
    } catch {
      // Kept for who comes next.
    }
    this.#sending = false
    this.#waiters.wake('out')
  }

  /** Behind what was written, the peer is told that no more comes. */
  #endSession(): void {
    if (!this.#secured || this.#error || this.#sendError || this.#endsWhenSent) return
    this.#endsWhenSent = true
    this.#session.end()
    this.#trySend()
  }

  async #close(): Promise<void> {
    this.#endSession()
    const timer = setTimeout(() => this.#master.shutdown('both'), TLS_CLOSE_TIMEOUT_MS)
    await this.#sent
    clearTimeout(timer)
    await this.#master.close()
    this.#session.free()
  }
}

/** The connection is closed if there is none. */
function openSession({ fd }: DetachedSocket, open: () => TLSSession): TLSSession {
  try {
    return open()
  } catch (error) {
    closeFd(fd)
    throw error
  }
}
