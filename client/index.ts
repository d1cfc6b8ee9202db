/**
 * NBD client.
 *
 *   const disk = await connect('nbd://localhost/export')
 *   const sector = await disk.read(0, 512)
 *   await disk.close()
 */
import type { NBDPackets } from '../shared/protocol/nbd-mode.ts'
import type { TLSParameters } from '../shared/protocol/uri-tls.ts'
import { modeOf } from './connect.ts'
import { listExports } from './connection/listing.ts'
import { targetOf, type ConnectTarget } from './connection/target.ts'
import { exportListing, type ExportListing } from './export-listing.ts'
import { NBDDisk, type DiskHandle } from './nbd-disk.ts'
import { NBD_HANDSHAKE_TIMEOUT_MS } from './negotiation/limits.ts'

export interface ListOptions {
  /** For connecting and the handshake together; 10 seconds if not given. */
  handshakeTimeoutMs?: number | undefined
  /** Requires TLS, as `nbds` does. What is given here comes before what the URI says. */
  tls?: TLSParameters | undefined
  /**
   * The best form of requests and replies that the server is asked for; `extended` if not given. `structured` splits long
   * effects; `simple` knows no holes, texts and metadata contexts, too.
   */
  packets?: NBDPackets | undefined
}

/**
 * A disk that another thread has opened, in this one.
 *
 *   const handle = await disk.share()
 *   worker.postMessage(handle)
 *   // in the worker:
 *   const disk = attach(handle)
 *
 * @see NBDDisk.attach
 */
export const attach = (handle: DiskHandle): NBDDisk => NBDDisk.attach(handle)

/**
 * What exports a server has, and what each of them is; in the server's order.
 *
 * @param of the server; what export it names does not matter
 * @throws NBDError as `connect`; of kind `request` when the server does not list its exports
 */
export async function list(of: string | ConnectTarget, options: ListOptions = {}): Promise<ExportListing[]> {
  const { handshakeTimeoutMs = NBD_HANDSHAKE_TIMEOUT_MS, tls, packets } = options
  const mode = modeOf(packets)
  const target = targetOf(of, tls)
  try {
    const { exports } = await listExports(target, handshakeTimeoutMs, { mode })
    return exports.map(exportListing)
  } finally {
    await target.close()
  }
}

export { QIOChannelPair } from '../shared/io/channel-pair.ts'
export { connect, type ConnectOptions } from './connect.ts'
export { NBDError, type NBDErrorKind } from '../shared/errors/nbd-error.ts'
export type { NBDPackets } from '../shared/protocol/nbd-mode.ts'
export type { TLSParameters } from '../shared/protocol/uri-tls.ts'
export type { BlockSizes } from '../shared/protocol/messages/export-info.ts'
export type { ConnectionState } from './connection/connection-set.ts'
export type { ConnectionOptions } from './connection/open-set.ts'
export type { ConnectTarget } from './connection/target.ts'
export type { ExportDetails, ExportListing } from './export-listing.ts'
export type { NBDFlags } from './flags.ts'
export {
  NBDDisk,
  type BlockStatusOptions,
  type DiskHandle,
  type DiskOptions,
  type WriteOptions,
  type ZeroOptions
} from './nbd-disk.ts'
export type { Handshake } from './negotiation/negotiated.ts'
export type { NBDExtent, NBDStatus } from './transmission/block-status.ts'
export type { CallOptions } from './transmission/cancellation.ts'
