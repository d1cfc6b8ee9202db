/**
 * The `nbd` driver: an export of another NBD server, on TCP or a Unix socket.
 *
 * @see QEMU's block/nbd.c
 */
import { configError, NBDError } from '../../shared/errors/nbd-error.ts'
import { formatUri } from '../../shared/protocol/uri.ts'
import { connect } from '../connect.ts'
import { NBDDisk } from '../nbd-disk.ts'
import { NbdNode, type NbdHandle } from './nbd-node.ts'
import { uriOf, type NbdOptions } from './options.ts'
import { OriginThread } from './origin-thread.ts'

/** Milliseconds, where 0 stands for not at all. */
const ms = (seconds = 0): number | undefined => (seconds === 0 ? undefined : seconds * 1000)

/** @context main @throws NBDError of kind `config` */
export async function openNbdNode(options: NbdOptions): Promise<NbdNode> {
  try {
    return await open(options)
  } catch (error) {
    if (!NBDError.is(error) || error.kind === 'bug') throw error
    throw configError(error.message, error)
  }
}

/** @context any-thread */
export const attachNbdNode = (handle: NbdHandle): NbdNode => NbdNode.attach(handle)

async function open(options: NbdOptions): Promise<NbdNode> {
  const address = uriOf(options)
  const uri = formatUri(address)
  const connecting = {
    openTimeoutMs: ms(options['open-timeout']),
    reconnectDelayMs: ms(options['reconnect-delay'])
  }
  const origin = address.tls && (await OriginThread.start({ uri, ...connecting }))
  const disk = origin ? NBDDisk.attach(origin.handle) : await connect(uri, connecting)
  try {
    const readOnly = options['read-only'] ?? false
    if (disk.readOnly && !readOnly)
      throw configError(`cannot open '${uri}' for writing: the export is read-only`)
    const noFlush = options.cache?.['no-flush'] ?? false
    const handle = origin?.handle ?? (await disk.share())
    return new NbdNode(disk, { driver: 'nbd', disk: handle, readOnly, noFlush }, origin)
  } catch (error) {
    await disk.close()
    await origin?.close()
    throw error
  }
}
