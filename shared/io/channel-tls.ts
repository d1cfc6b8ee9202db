/**
 * TLS over a connection.
 *
 * The keys and sequence numbers of the session are in the thread that did the handshake, so a TLS connection stays there; and
 * since bytes must be encrypted on the way there is neither sendfile nor fd-pass.
 *
 * The end of the stream is what the peer says it is: whoever sits between can cut it off, but not change it.
 *
 * @context the thread that made it
 * @see QEMU io/channel-tls.c
 */
import type { Duplex } from 'node:stream'
import type { CoroutineFn } from '../coroutine/coroutine.ts'
import { QIOChannel } from './channel.ts'

/** From its start to the end of the handshake, in ms, when nobody says otherwise. */
export const TLS_HANDSHAKE_TIMEOUT_MS = 10_000
/** For who bounds the time of a handshake by shutting the channel down: what a timer can hold. */
export const NO_TIMEOUT_MS = 2 ** 31 - 1
/** How long `close` lets the peer take what was written, in ms. */
export const TLS_CLOSE_TIMEOUT_MS = 10_000

/** A connection that a socket channel has given up. @see QIOChannelSocket.detach */
export interface DetachedSocket {
  /** The receiver's to close. */
  fd: number
  /** Received, and not read. */
  unread: Buffer
}

/** What TLS is put over: a socket, or any stream. @see QIOChannelStream.detach */
export type TLSMaster = DetachedSocket | { stream: Duplex }

export abstract class QIOChannelTLS extends QIOChannel {
  /**
   * Shakes hands. Nothing can be read or written before.
   *
   * A client may return from this although the server is about to refuse its certificate: in TLS 1.3 it hears of that
   * only when it reads.
   *
   * @throws NBDError of kind `protocol` that says what is wrong with the peer, `transport` when it went or was too slow;
   *   the channel can only be closed then
   * @see qio_channel_tls_handshake
   */
  abstract handshake(timeoutMs?: number): CoroutineFn

  /** Such as `TLSv1.3`; undefined before the end of the handshake. */
  abstract get protocol(): string | undefined
}
