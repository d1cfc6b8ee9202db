/** Waiting for bytes on a socket without reading them, as whoever expects descriptors with them must. */
import * as net from 'node:net'
import { duplicateFd } from '../syscall/fd.ts'

/** With no room to read into, node:net says that there is something to read, and leaves it there. */
const NO_ROOM = Buffer.alloc(1).subarray(0, 0)

/**
 * Calls `onReadable` when the socket has bytes, has ended or has failed; perhaps more than once.
 *
 * @param fd stays the caller's
 * @returns ends that; must be called
 * @throws NBDError of kind `request` (EMFILE)
 */
export function probeReadable(fd: number, onReadable: () => void): () => void {
  const options: net.SocketConstructorOpts & { onread: net.OnReadOpts } = {
    fd: duplicateFd(fd),
    readable: true,
    writable: false,
    onread: { buffer: NO_ROOM, callback: () => false }
  }
  const probe = new net.Socket(options)
  // ENOBUFS, or whatever recvmsg will then tell.
  probe.on('error', onReadable)
  probe.on('end', onReadable)
  probe.resume()
  return () => void probe.removeAllListeners('end').destroy()
}
