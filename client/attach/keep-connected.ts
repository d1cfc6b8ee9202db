/** Replacing connections of a device that are lost. */
import { NBDError } from '../../shared/errors/nbd-error.ts'
import { log } from '../../shared/log/log.ts'
import type { NBDUri } from '../../shared/protocol/uri.ts'
import { closeFd } from '../../shared/syscall/fd.ts'
import type { KernelClient } from './kernel-client.ts'
import { leaveSocket, negotiateSocket } from './negotiated-socket.ts'

/** Between two looks at what the kernel tells, and between two attempts. */
const INTERVAL_MS = 1000

/**
 * Resolves when the device is detached.
 *
 * @param kernel `watchLinks` was called before the device was connected
 * @throws NBDError when the kernel does not answer any more
 */
export async function keepConnected(
  kernel: Pick<KernelClient, 'isConnected' | 'deadLinks' | 'reconnect'>,
  index: number,
  uri: NBDUri,
  intervalMs = INTERVAL_MS
): Promise<void> {
  let dead = 0
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, intervalMs))
    if (!kernel.isConnected(index)) return
    dead += kernel.deadLinks(index)
    if (dead > 0 && (await replace(kernel, index, uri))) dead--
  }
}

/** @returns whether it succeeded */
async function replace(
  kernel: Pick<KernelClient, 'reconnect'>,
  index: number,
  uri: NBDUri
): Promise<boolean> {
  try {
    const { fd } = await negotiateSocket(uri)
    try {
      kernel.reconnect(index, [fd])
    } catch (error) {
      await leaveSocket(fd)
      throw error
    }
    closeFd(fd)
    return true
  } catch (error) {
    if (!NBDError.is(error)) throw error
    log.warn({ index, reason: error.message }, 'a lost connection is not replaced yet')
    return false
  }
}
