/** Replacing connections of a device that are lost. */
import { NBDError } from '../../shared/errors/nbd-error.ts'
import { log } from '../../shared/log/log.ts'
import type { NBDUri } from '../../shared/protocol/uri.ts'
import { closeFd } from '../../shared/syscall/fd.ts'
import type { KernelClient } from './kernel-client.ts'
import { leaveSocket, negotiateSocket } from './negotiated-socket.ts'

/** Between two looks at what the kernel tells, and between two attempts. */
const INTERVAL_MS = 1000

/** What is told of a device that was connected, and must stay as it is. */
export interface Attached {
  index: number
  uri: NBDUri
  /** Bytes. */
  size: number
}

/**
 * Resolves when the device is detached. That a connection cannot be replaced is logged, once for each reason.
 *
 * @param kernel `watchLinks` was called before the device was connected
 * @throws NBDError when the kernel does not answer any more
 */
export async function keepConnected(
  kernel: Pick<KernelClient, 'isConnected' | 'deadLinks' | 'reconnect'>,
  attached: Attached,
  intervalMs = INTERVAL_MS
): Promise<void> {
  const { index } = attached
  let dead = 0
  let problem: string | undefined
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, intervalMs))
    if (!kernel.isConnected(index)) return
    dead += kernel.deadLinks(index)
    if (dead === 0) continue
    const reason = await replace(kernel, attached)
    if (reason === undefined) dead--
    else if (reason !== problem) log.warn({ index, reason }, 'a lost connection is not replaced yet')
    problem = reason
  }
}

/** @returns why it did not succeed */
async function replace(
  kernel: Pick<KernelClient, 'reconnect'>,
  { index, uri, size }: Attached
): Promise<string | undefined> {
  try {
    const { fd, negotiated } = await negotiateSocket(uri)
    try {
      // The kernel would not notice, and read and write another disk.
      if (negotiated.size !== size) {
        throw new NBDError('request', `the export has ${negotiated.size} bytes now, and not ${size}`)
      }
      kernel.reconnect(index, [fd])
    } catch (error) {
      await leaveSocket(fd)
      throw error
    }
    closeFd(fd)
    return undefined
  } catch (error) {
    if (!NBDError.is(error)) throw error
    return error.message
  }
}
