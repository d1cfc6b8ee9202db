/** `mqnbd detach`: ends what a block device of this machine has to do with an NBD server. */
import { configError } from '../../shared/errors/nbd-error.ts'
import { NETLINK_GENERIC, NetlinkSocket } from '../../shared/syscall/netlink-socket.ts'
import { deviceName, KernelClient } from '../attach/kernel-client.ts'
import { deviceIndex, type DetachArguments } from './attach-options.ts'

/**
 * @returns the exit status
 * @throws NBDError when it cannot be detached
 */
export async function detach(args: DetachArguments): Promise<number> {
  // The check of `buildDetach` has seen that it is there.
  const index = deviceIndex(args.device!)
  const socket = NetlinkSocket.open(NETLINK_GENERIC)
  try {
    const kernel = new KernelClient(socket)
    if (!kernel.isConnected(index)) throw configError(`${deviceName(index)} is not attached`)
    kernel.disconnect(index)
    return 0
  } finally {
    socket.close()
  }
}
