/** Connecting to an export. */
import { configError } from '../shared/errors/nbd-error.ts'
import { NBD_PACKETS, type NBDMode, type NBDPackets } from '../shared/protocol/nbd-mode.ts'
import type { TLSParameters } from '../shared/protocol/uri-tls.ts'
import { Connection } from './connection/connection.ts'
import { openSet, type ConnectionOptions } from './connection/open-set.ts'
import type { Open } from './connection/opening.ts'
import { targetOf, type ConnectTarget } from './connection/target.ts'
import { NBDDisk, type DiskOptions } from './nbd-disk.ts'
import { checkedContexts } from './negotiation/opt-meta-context.ts'
import { checkTimeout } from './transmission/cancellation.ts'

export interface ConnectOptions extends ConnectionOptions, DiskOptions {
  /** Requires TLS, as `nbds` does. What is given here comes before what the URI says. */
  tls?: TLSParameters | undefined
  /**
   * The best form of requests and replies that the server is asked for; `extended` if not given. `structured` splits long
   * effects; `simple` knows no holes, texts and metadata contexts, too.
   */
  packets?: NBDPackets | undefined
  /** What `blockStatus` is to tell about, where the server can; `base:allocation` if not given. */
  metaContexts?: readonly string[] | undefined
  /**
   * Lets `share` work over TLS, a WebSocket, a stream or an in-memory pair, too. The bytes of all threads then go through a
   * pair of Unix sockets, and this thread moves them between these and the connection: it has to stay as long as the disk
   * is used anywhere, also when it has closed its own.
   */
  shareable?: boolean | undefined
  /** Ask also which contexts the export has, for `offeredContexts`. */
  listContexts?: boolean | undefined
}

/**
 * Connects to an export of an NBD server. An open connection keeps the process alive: `close` it.
 *
 * @param to `nbd://HOST:PORT/EXPORT` or `nbd+unix:///EXPORT?socket=PATH`, with `nbds` for TLS; or what has no URI
 * @throws NBDError of kind `config` (what was asked for), `transport` (no connection), `protocol` (no proper NBD server) or
 *   `request` (the server refuses, or an option is out of its range); the signal's reason
 */
export async function connect(to: string | ConnectTarget, options: ConnectOptions = {}): Promise<NBDDisk> {
  checkTimeout('timeoutMs', options.timeoutMs)
  const { packets, metaContexts, listContexts } = options
  const wishes = { mode: modeOf(packets), metaContexts: checkedContexts(metaContexts), listContexts }
  const target = { ...targetOf(to, options.tls), shareable: options.shareable ?? false }
  const open: Open = (timeoutMs, signal) => Connection.open(target, wishes, timeoutMs, signal)
  try {
    return new NBDDisk(await openSet(open, target.reopens, options), target, options)
  } catch (error) {
    await target.close()
    throw error
  }
}

/** @throws NBDError of kind `config` */
export function modeOf(packets: NBDPackets = 'extended'): NBDMode {
  const mode = NBD_PACKETS.indexOf(packets)
  if (mode < 0) throw configError(`packets must be one of ${NBD_PACKETS.join(', ')}`)
  return mode as NBDMode
}
