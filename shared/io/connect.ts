/**
 * Connecting to a server, on TCP, a Unix socket or vsock.
 *
 * For TCP and Unix sockets node:net resolves the name and connects (it knows about several addresses of one host); the
 * descriptor then goes to a channel, because node:net cannot give up a socket of its own. The server speaks first, so
 * what matters is that node:net reads nothing of it: a byte that it had read would be lost. It reads nothing, because it
 * starts to read only behind the event 'connect', in the same call; and in the listener of that event the descriptor is
 * duplicated and the original closed. `bytesRead`, which counts what the closed handle has read in its life, shows that it was so.
 *
 * @see QEMU io/channel-socket.c, qio_channel_socket_connect_sync
 */
import * as net from 'node:net'
import { bugError, NBDError } from '../errors/nbd-error.ts'
import { errnoOf, reason } from '../errors/system-error.ts'
import type { NBDAddress, VsockAddress } from '../protocol/uri.ts'
import { closeFd, duplicateFd } from '../syscall/fd.ts'
import { QIOChannelSocket } from './channel-socket.ts'

/** sun_path has 108 bytes, with the NUL at the end. What is longer would be cut off, and be another path. */
const MAX_PATH = 107

/**
 * Connects; of what the server sends nothing is read yet.
 *
 * @context the thread in whose loop the channel is to live
 * @param timeoutMs for looking up the name and connecting
 * @param signal ends it, with an error of kind `transport`
 * @returns a channel, the caller's to close
 * @throws NBDError of kind `transport`; of kind `config` when no such address can be
 */
export async function connectSocket(
  address: NBDAddress,
  timeoutMs: number,
  signal?: AbortSignal
): Promise<QIOChannelSocket> {
  if ('cid' in address) {
    const { connectedVsock } = await import('./connect-vsock.ts')
    return new QIOChannelSocket(await connectedVsock(address, timeoutMs, signal))
  }
  if ('path' in address && Buffer.byteLength(address.path) > MAX_PATH) {
    throw new NBDError('config', `the path of a socket is at most ${MAX_PATH} bytes long`)
  }
  return new QIOChannelSocket(await connectedFd(address, timeoutMs, signal))
}

function connectedFd(
  address: Exclude<NBDAddress, VsockAddress>,
  timeoutMs: number,
  signal?: AbortSignal
): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(address)
    const timer = setTimeout(
      () => socket.destroy(new NBDError('transport', `no connection within ${timeoutMs} ms`)),
      timeoutMs
    )
    const abort = (): unknown => socket.destroy(new NBDError('transport', 'connecting was given up'))
    signal?.addEventListener('abort', abort)
    if (signal?.aborted) abort()
    socket.once('close', () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', abort)
    })
    socket.once('error', (error) => reject(transportError(error)))
    socket.once('connect', () => {
      try {
        resolve(takeOver(socket))
      } catch (error) {
        reject(transportError(error))
      }
    })
  })
}

/** A duplicate of the socket's descriptor; the socket is closed, and has read nothing. */
function takeOver(socket: net.Socket): number {
  let fd: number | undefined
  try {
    // Node has no public way to the descriptor of a socket.
    const own = (socket as unknown as { _handle?: { fd?: number } })._handle?.fd
    if (own === undefined || own < 0) throw bugError('a connected socket has no descriptor')
    fd = duplicateFd(own)
  } finally {
    // Closes this descriptor only: the connection lives on in its duplicate.
    socket.destroy()
  }
  if (socket.bytesRead === 0) return fd
  closeFd(fd)
  throw bugError(`node:net has read ${socket.bytesRead} bytes that were not its own`)
}

function transportError(error: unknown): NBDError {
  if (NBDError.is(error)) return error
  // Of a host with several addresses, each has failed; the first is the one that the system prefers.
  const first: unknown = error instanceof AggregateError ? error.errors[0] : error
  const errno = errnoOf(first)
  return new NBDError('transport', hostProblem(first) ?? reason(first), {
    ...(errno === undefined ? {} : { errno }),
    cause: error
  })
}

/** getaddrinfo's failures have no errno. */
function hostProblem(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('syscall' in error) || error.syscall !== 'getaddrinfo') return undefined
  return 'code' in error && error.code === 'ENOTFOUND'
    ? 'there is no such host'
    : 'the host cannot be looked up'
}
