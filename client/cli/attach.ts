/** `mqnbd attach`: makes an export a block device of this machine. */
import { configError, NBDError } from '../../shared/errors/nbd-error.ts'
import { parseUri, type NBDUri } from '../../shared/protocol/uri.ts'
import { closeFd } from '../../shared/syscall/fd.ts'
import { NETLINK_GENERIC, NetlinkSocket } from '../../shared/syscall/netlink-socket.ts'
import { deviceName, KernelClient } from '../attach/kernel-client.ts'
import { keepConnected } from '../attach/keep-connected.ts'
import { leaveSocket, negotiateSocket, type NegotiatedSocket } from '../attach/negotiated-socket.ts'
import { attachPlan, deviceIndex, deviceSettings, type AttachArguments } from './attach-options.ts'

/**
 * @returns the exit status
 * @throws NBDError when it cannot be attached: nothing has changed then
 */
export async function attach(args: AttachArguments): Promise<number> {
  // The check of `buildAttach` has seen that both are there.
  const index = deviceIndex(args.device!)
  const plan = attachPlan(args)
  const uri = parseUri(args.uri!)
  // The kernel reads and writes the socket itself, and would do so in the clear.
  if (uri.tls) throw configError("the kernel's NBD client has no TLS")
  // Newer kernels refuse all others, without saying why.
  if ('cid' in uri.address) throw configError("the kernel's NBD client takes TCP and Unix sockets only")
  const socket = NetlinkSocket.open(NETLINK_GENERIC)
  try {
    const kernel = new KernelClient(socket)
    if (kernel.isConnected(index)) throw configError(`cannot attach ${deviceName(index)}: it is in use`)
    if (plan.persist) kernel.watchLinks()
    const sockets = await negotiateAll(uri, plan.connections)
    try {
      const settings = deviceSettings(plan, sockets[0]!.negotiated)
      kernel.connect(index, { ...settings, sockets: sockets.map(({ fd }) => fd) })
    } catch (error) {
      await Promise.all(sockets.map(({ fd }) => leaveSocket(fd)))
      throw error
    }
    // The kernel holds them by itself.
    for (const { fd } of sockets) closeFd(fd)
    process.stdout.write(`mqnbd: attached ${deviceName(index)}\n`)
    if (plan.persist) await keepConnected(kernel, { index, uri, size: sockets[0]!.negotiated.size })
    return 0
  } finally {
    socket.close()
  }
}

/** Either all are open, or none is left. */
async function negotiateAll(uri: NBDUri, connections: number): Promise<NegotiatedSocket[]> {
  const sockets: NegotiatedSocket[] = []
  try {
    for (let i = 0; i < connections; i++) sockets.push(await negotiateSocket(uri))
    const [first] = sockets
    if (sockets.every(({ negotiated }) => negotiated.size === first!.negotiated.size)) return sockets
    throw new NBDError('protocol', 'the server tells each connection another size')
  } catch (error) {
    await Promise.all(sockets.map(({ fd }) => leaveSocket(fd)))
    throw error
  }
}
