/**
 * Accepts clients, on TCP, a Unix socket or vsock, in the main thread. The accepted socket is never read here: its
 * descriptor is duplicated for the IOThread that will serve it.
 *
 * @context main
 * @see QEMU io/net-listener.c
 */
import * as net from 'node:net'
import { bugError, configError, type NBDError } from '../../shared/errors/nbd-error.ts'
import { errnoText, reason } from '../../shared/errors/system-error.ts'
import { openForLoop } from '../../shared/aio/open-for-loop.ts'
import { log } from '../../shared/log/log.ts'
import type { UnixAddress, VsockAddress } from '../../shared/protocol/uri.ts'
import { duplicateFd } from '../../shared/syscall/fd.ts'
import { AF_VSOCK, socketFamily } from '../../shared/syscall/socket.ts'
import { listenVsock, vsockName, vsockPeer } from '../../shared/syscall/vsock.ts'
import { claimUnixPath, shownPath } from './unix-path.ts'

/**
 * A path that begins with a NUL is a name in the abstract namespace. Port 0 is any that is free.
 *
 * With `cid` it is vsock, for virtual machines and their host: VMADDR_CID_ANY for all that this machine has.
 */
export type ListenAddress = UnixAddress | { host: string; port: number } | VsockAddress

/** A socket that listens already. */
export interface ListeningSocket {
  fd: number
}

/** A client that was accepted, and of which nothing was read yet. */
export interface Accepted {
  /** The receiver's to close. */
  fd: number
  peer: string
}

export class NBDListener {
  readonly #server: net.Server
  readonly #vsockPort: number | undefined

  private constructor(server: net.Server, vsockPort: number | undefined) {
    this.#server = server
    this.#vsockPort = vsockPort
  }

  /**
   * Listens.
   *
   * @param address a descriptor is the listener's from now on
   * @param accept is called for each client
   * @throws NBDError of kind `config` that says why it cannot
   */
  static async listen(
    address: ListenAddress | ListeningSocket,
    accept: (client: Accepted) => void
  ): Promise<NBDListener> {
    const path = 'path' in address ? address.path : undefined
    if (path !== undefined) await claimUnixPath(path)
    const vsock = 'cid' in address ? openVsock(address) : undefined
    const server = net.createServer({ pauseOnConnect: true }, (socket) => handOver(socket, accept))
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => reject(cannotListen(address, error)))
      if (vsock !== undefined) openForLoop(vsock, () => server.listen({ fd: vsock }, resolve))
      else server.listen(address, resolve)
    })
    server.removeAllListeners('error')
    // Accepting may fail for want of descriptors; it is tried again with the next client.
    server.on('error', (error) => log.error({ err: error }, 'cannot accept a client'))
    return new NBDListener(server, vsock === undefined ? undefined : vsockName(vsock)!.port)
  }

  /** The port of TCP or vsock, also when it was asked for as 0. */
  get port(): number | undefined {
    if (this.#vsockPort !== undefined) return this.#vsockPort
    const address = this.#server.address()
    return typeof address === 'object' ? address?.port : undefined
  }

  /** Accepts no more clients; node:net removes the socket's file, if it has made it. */
  async close(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }
}

/** @returns a socket that listens; node:net is to close it @throws NBDError of kind `config` */
function openVsock(address: VsockAddress): number {
  const fd = listenVsock(address)
  if (fd >= 0) return fd
  throw configError(`cannot listen on ${shown(address)}: ${errnoText(-fd)}`)
}

const cannotListen = (address: ListenAddress | ListeningSocket, error: unknown): NBDError =>
  configError(`cannot listen on ${shown(address)}: ${reason(error)}`, error)

function shown(address: ListenAddress | ListeningSocket): string {
  if ('fd' in address) return `descriptor ${address.fd}`
  if ('path' in address) return `'${shownPath(address.path)}'`
  return 'cid' in address ? `vsock port ${address.port}` : `${address.host} port ${address.port}`
}

function handOver(socket: net.Socket, accept: (client: Accepted) => void): void {
  // Node has no public way to the descriptor of a socket.
  const fd = (socket as unknown as { _handle?: { fd?: number } })._handle?.fd
  const peer = peerOf(socket, fd)
  try {
    if (fd === undefined || fd < 0) throw bugError('an accepted socket has no descriptor')
    accept({ fd: duplicateFd(fd), peer })
  } catch (error) {
    log.error({ err: error, peer }, `cannot take the client over: ${reason(error)}`)
  } finally {
    // Closes this descriptor only: the connection lives on in its duplicate.
    socket.destroy()
  }
}

/** For the log. */
function peerOf({ remoteAddress, remotePort }: net.Socket, fd: number | undefined): string {
  if (remoteAddress !== undefined) return `${remoteAddress} port ${remotePort}`
  if (fd === undefined || socketFamily(fd) !== AF_VSOCK) return 'unix'
  const peer = vsockPeer(fd)
  return peer ? `vsock ${peer.cid} port ${peer.port}` : 'vsock'
}
