/**
 * NBD client.
 *
 *   const disk = await connect('nbd://localhost/export')
 *   const sector = await disk.read(0, 512)
 *   await disk.close()
 */
import type { TLSParameters } from '../shared/protocol/uri-tls.ts'
import { Connection } from './connection/connection.ts'
import { targetOf, type ConnectTarget } from './connection/target.ts'
import { NBDDisk, type DiskOptions } from './nbd-disk.ts'
import { NBD_HANDSHAKE_TIMEOUT_MS } from './negotiation/limits.ts'

export interface ConnectOptions extends DiskOptions {
  /** For connecting and the handshake together; 10 seconds if not given. */
  handshakeTimeoutMs?: number | undefined
  /** Requires TLS, as `nbds` does. What is given here comes before what the URI says. */
  tls?: TLSParameters | undefined
}

/**
 * Connects to an export of an NBD server. An open connection keeps the process alive: `close` it.
 *
 * @param to `nbd://HOST:PORT/EXPORT` or `nbd+unix:///EXPORT?socket=PATH`, with `nbds` for TLS; or what has no URI
 * @throws NBDError of kind `config` (what was asked for), `transport` (no connection), `protocol` (no proper NBD server) or
 *   `request` (the server refuses)
 */
export async function connect(
  to: string | ConnectTarget,
  { handshakeTimeoutMs = NBD_HANDSHAKE_TIMEOUT_MS, tls, ...options }: ConnectOptions = {}
): Promise<NBDDisk> {
  const target = targetOf(to, tls)
  try {
    return new NBDDisk(await Connection.open(target, handshakeTimeoutMs), target, options)
  } catch (error) {
    await target.close()
    throw error
  }
}

export { QIOChannelPair } from '../shared/io/channel-pair.ts'
export { NBDError, type NBDErrorKind } from '../shared/errors/nbd-error.ts'
export type { TLSParameters } from '../shared/protocol/uri-tls.ts'
export type { BlockSizes } from '../shared/protocol/messages/export-info.ts'
export type { ConnectionState } from './connection/connection.ts'
export type { ConnectTarget } from './connection/target.ts'
export type { NBDFlags } from './flags.ts'
export { NBDDisk, type DiskOptions, type WriteOptions, type ZeroOptions } from './nbd-disk.ts'
export type { Handshake } from './negotiation/negotiated.ts'
export type { NBDExtent } from './transmission/block-status.ts'
export type { CallOptions } from './transmission/cancellation.ts'
