/**
 * One end of a TLS connection, between bytes in memory and bytes in memory: what is encrypted passes through two rings.
 *
 * Nothing here waits, and nothing knows of sockets.
 *
 * @context the thread that made it
 * @see QEMU crypto/tlssession.c
 */
import { X509Certificate } from 'node:crypto'
import type { NBDError } from '../errors/nbd-error.ts'
import { systemError } from '../errors/system-error.ts'
import { loadUint64, storeUint64, wordsOf } from '../syscall/iovec.ts'
import { ENOMEM } from '../syscall/libc.ts'
import { Memory } from '../syscall/memory.ts'
import type { OpenSSL } from '../syscall/openssl.ts'
import { QIO_CHANNEL_ERR_BLOCK, type IOVec } from './channel.ts'
import { tlsContext } from './tls-context.ts'
import type { TLSCreds } from './tls-creds.ts'
import { tlsError, unknownUser, verifyCode, type Peer } from './tls-error.ts'
import { takeStranger } from './tls-psk-callbacks.ts'
import { closedError } from './transport-errors.ts'

/** Plain bytes in one record, at the most. */
export const RECORD_SIZE = 16 * 1024
/** What a record has beside them is no more than this. */
const RECORD_OVERHEAD = 256
/** Records that leave together. */
const RECORDS = 16
/** For the end of the session, or an alert, behind the records. */
const RESERVE = 1024
/** Bytes of either ring. */
const RING_SIZE = RECORDS * (RECORD_SIZE + RECORD_OVERHEAD) + RESERVE

// Of openssl/ssl.h, openssl/tls1.h.
const SSL_CTRL_SET_TLSEXT_HOSTNAME = 55
const SSL_ERROR_WANT_READ = 2
const SSL_ERROR_ZERO_RETURN = 6
const X509_V_OK = 0

/** Where OpenSSL puts a pointer. */
const pointer = Memory.allocate(8)
const pointerWords = wordsOf(pointer)
const pointed = (): number => loadUint64(pointerWords, 0)

export class TLSSession {
  readonly #openssl: OpenSSL
  readonly #creds: TLSCreds
  readonly #peer: Peer
  /** 0 when it is freed. */
  #ssl: number
  /** The end of the rings that OpenSSL has, which owns it, and the outer one. */
  readonly #inner: number
  readonly #network: number
  readonly #in: IOVec
  readonly #out: IOVec
  /** Bytes that are to be sent. */
  #unsent = 0

  /** @param servername that a client tells the server it wants; undefined: none */
  constructor(openssl: OpenSSL, creds: TLSCreds, peer: Peer, servername?: string) {
    this.#openssl = openssl
    this.#creds = creds
    this.#peer = peer
    this.#ssl = openssl.SSL_new(tlsContext(openssl, creds, peer))
    const made = openssl.BIO_new_bio_pair(pointer.address, RING_SIZE, pointer.address + 8, RING_SIZE)
    if (this.#ssl === 0 || made !== 1) {
      openssl.SSL_free(this.#ssl)
      throw systemError(ENOMEM, 'TLS')
    }
    this.#inner = pointed()
    this.#network = loadUint64(pointerWords, 2)
    openssl.SSL_set_bio(this.#ssl, this.#inner, this.#inner)
    this.#in = ringOf(openssl, this.#network)
    this.#out = ringOf(openssl, this.#inner)
    if (peer === 'client') openssl.SSL_set_accept_state(this.#ssl)
    else openssl.SSL_set_connect_state(this.#ssl)
    if (servername !== undefined) openssl.SSL_ctrl(this.#ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, 0, servername)
  }

  /** Such as `TLSv1.3`. */
  get protocol(): string {
    return this.#openssl.SSL_get_version(this.#check()) ?? ''
  }

  /** The peer's; undefined when it has sent none. */
  get peerCertificate(): X509Certificate | undefined {
    const openssl = this.#openssl
    const certificate = openssl.SSL_get1_peer_certificate(this.#check())
    if (certificate === 0) return undefined
    const der = Memory.allocate(openssl.i2d_X509(certificate, 0))
    storeUint64(pointerWords, 0, der.address)
    const length = openssl.i2d_X509(certificate, pointer.address)
    openssl.X509_free(certificate)
    return new X509Certificate(der.buffer.subarray(0, length))
  }

  /**
   * Goes on with the handshake.
   *
   * @returns false when it needs bytes of the peer; what is to be sent is there in both cases
   * @throws NBDError of kind `protocol`; an alert may be there to be sent
   */
  handshake(): boolean {
    const ssl = this.#check()
    this.#openssl.ERR_clear_error()
    const done = this.#openssl.SSL_do_handshake(ssl)
    const stranger = takeStranger()
    this.#measure()
    if (done > 0) return true
    if (this.#openssl.SSL_get_error(ssl, done) === SSL_ERROR_WANT_READ) return false
    if (stranger !== undefined) throw unknownUser('TLS handshake', stranger)
    throw this.#error('TLS handshake')
  }

  /** Whether it was given bytes that `read` has not returned, or not yet asked for the rest of. */
  get hasInput(): boolean {
    const openssl = this.#openssl
    return openssl.SSL_has_pending(this.#check()) !== 0 || openssl.BIO_ctrl_pending(this.#inner) > 0
  }

  /** Where the next encrypted bytes are to be received, when `read` has taken all that there were. The session's. */
  get room(): IOVec {
    this.#check()
    return this.#in
  }

  /** @param n bytes were put where there is room */
  received(n: number): void {
    this.#check()
    this.#openssl.ERR_clear_error()
    this.#openssl.BIO_nwrite(this.#network, pointer.address, n)
  }

  /**
   * Decrypts.
   *
   * @param length at least 1
   * @returns bytes; 0 at the end of the session; QIO_CHANNEL_ERR_BLOCK when more must be received: then all was taken
   * @throws NBDError of kind `protocol`
   */
  read(address: number, length: number): number {
    return this.#result(this.#openssl.SSL_read(this.#check(), address, length))
  }

  /** As `read` of one byte, which is read again by the next `read`. */
  peek(): number {
    return this.#result(this.#openssl.SSL_peek(this.#check(), pointer.address, 1))
  }

  /** Plain bytes that `write` takes. */
  get writable(): number {
    const records = Math.floor((RING_SIZE - RESERVE - this.#unsent) / (RECORD_SIZE + RECORD_OVERHEAD))
    return records * RECORD_SIZE
  }

  /** Encrypts. @param length up to `writable` @throws NBDError of kind `protocol` */
  write(address: number, length: number): void {
    const n = this.#openssl.SSL_write(this.#check(), address, length)
    this.#measure()
    if (n !== length) throw this.#error('TLS')
  }

  /** Behind what was written, the session ends. */
  end(): void {
    this.#openssl.SSL_shutdown(this.#check())
    this.#measure()
  }

  /** Encrypted bytes that are to be sent next, the session's; undefined when there are none. */
  get unsent(): IOVec | undefined {
    if (this.#unsent === 0) return undefined
    const length = this.#openssl.BIO_nread0(this.#network, pointer.address)
    this.#out.start = pointed() - this.#out.memory.address
    this.#out.end = this.#out.start + length
    return this.#out
  }

  /** @param n of the bytes that are to be sent are sent */
  sent(n: number): void {
    this.#openssl.BIO_nread(this.#network, pointer.address, n)
    this.#unsent -= n
  }

  /** It is of no use any more. */
  free(): void {
    if (this.#ssl === 0) return
    this.#openssl.SSL_free(this.#ssl)
    this.#openssl.BIO_free(this.#network)
    this.#ssl = 0
    this.#unsent = 0
  }

  /** @param n what OpenSSL has returned @returns as `read` */
  #result(n: number): number {
    if (n > 0) return n
    const why = this.#openssl.SSL_get_error(this.#ssl, n)
    if (why === SSL_ERROR_WANT_READ) return QIO_CHANNEL_ERR_BLOCK
    if (why === SSL_ERROR_ZERO_RETURN) return 0
    this.#measure()
    throw this.#error('TLS')
  }

  /** What the last call that failed says. */
  #error(what: string): NBDError {
    const openssl = this.#openssl
    const code = openssl.ERR_get_error()
    openssl.ERR_clear_error()
    const reason = openssl.ERR_reason_error_string(code) ?? `error ${code} of OpenSSL`
    if (reason === 'certificate verify failed') {
      const result = openssl.SSL_get_verify_result(this.#ssl)
      const text = verifyCode(result) ?? openssl.X509_verify_cert_error_string(result)
      if (result !== X509_V_OK && text !== null) return tlsError(what, text, this.#peer, this.#creds)
    }
    const error = Object.assign(new Error(reason), {
      // As node:tls says it.
      code: `ERR_SSL_${reason.toUpperCase().replaceAll(' ', '_')}`,
      reason
    })
    return tlsError(what, error, this.#peer, this.#creds)
  }

  /** Finds out how much is to be sent. */
  #measure(): void {
    this.#unsent = this.#openssl.BIO_ctrl_pending(this.#network)
  }

  #check(): number {
    if (this.#ssl === 0) throw closedError()
    return this.#ssl
  }
}

/** The ring that is written at this end, as long as it is empty. */
function ringOf(openssl: OpenSSL, bio: number): IOVec {
  const end = openssl.BIO_nwrite0(bio, pointer.address)
  return { memory: Memory.foreign(pointed(), end), start: 0, end }
}
