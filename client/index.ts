/**
 * NBD client.
 *
 *   const disk = await connect('nbd://localhost/export')
 *   const sector = await disk.read(0, 512)
 *   await disk.close()
 */
import { parseUri } from '../shared/protocol/uri.ts'
import { Connection } from './connection/connection.ts'
import { NBDDisk } from './nbd-disk.ts'
import { NBD_HANDSHAKE_TIMEOUT_MS } from './negotiation/limits.ts'

export interface ConnectOptions {
  /** For connecting and the handshake together; 10 seconds if not given. */
  handshakeTimeoutMs?: number | undefined
}

/**
 * Connects to an export of an NBD server. An open connection keeps the process alive: `close` it.
 *
 * @param uri `nbd://HOST:PORT/EXPORT` or `nbd+unix:///EXPORT?socket=PATH`
 * @throws NBDError of kind `config` (the URI), `transport` (no connection), `protocol` (no proper NBD server) or
 *   `request` (the server refuses)
 */
export async function connect(
  uri: string,
  { handshakeTimeoutMs = NBD_HANDSHAKE_TIMEOUT_MS }: ConnectOptions = {}
): Promise<NBDDisk> {
  return new NBDDisk(await Connection.open(parseUri(uri), handshakeTimeoutMs))
}

export { NBDError, type NBDErrorKind } from '../shared/errors/nbd-error.ts'
export type { BlockSizes } from '../shared/protocol/messages/export-info.ts'
export type { ConnectionState } from './connection/connection.ts'
export type { NBDFlags } from './flags.ts'
export { NBDDisk, type WriteOptions, type ZeroOptions } from './nbd-disk.ts'
export type { Handshake } from './negotiation/negotiated.ts'
export type { NBDExtent } from './transmission/block-status.ts'
