/**
 * Accepts clients, on TCP or a Unix socket, in the main thread. The accepted socket is never read here: its descriptor
 * is duplicated for the IOThread that will serve it.
 *
 * @context main
 * @see QEMU io/net-listener.c
 */
import * as net from 'node:net'
import { bugError, configError } from '../../shared/errors/nbd-error.ts'
import { reason } from '../../shared/errors/system-error.ts'
import { log } from '../../shared/log/log.ts'
import { duplicateFd } from '../../shared/syscall/fd.ts'
import { claimUnixPath, shownPath } from './unix-path.ts'

/** A path that begins with a NUL is a name in the abstract namespace. */
export type ListenAddress = { path: string } | { host: string; port: number }

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

  private constructor(server: net.Server) {
    this.#server = server
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
    const server = net.createServer({ pauseOnConnect: true }, (socket) => handOver(socket, accept))
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) =>
        reject(configError(`cannot listen on ${shown(address)}: ${reason(error)}`, error))
      )
      server.listen(address, resolve)
    })
    server.removeAllListeners('error')
    // Accepting may fail for want of descriptors; it is tried again with the next client.
    server.on('error', (error) => log.error({ err: error }, 'cannot accept a client'))
    return new NBDListener(server)
  }

  /** The TCP port, also when it was asked for as 0. */
  get port(): number | undefined {
    const address = this.#server.address()
    return typeof address === 'object' ? address?.port : undefined
  }

  /** Accepts no more clients; node:net removes the socket's file, if it has made it. */
  async close(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }
}

function shown(address: ListenAddress | ListeningSocket): string {
  if ('fd' in address) return `descriptor ${address.fd}`
  return 'path' in address ? `'${shownPath(address.path)}'` : `${address.host} port ${address.port}`
}

function handOver(socket: net.Socket, accept: (client: Accepted) => void): void {
  const peer =
    socket.remoteAddress === undefined ? 'unix' : `${socket.remoteAddress} port ${socket.remotePort}`
  // Node has no public way to the descriptor of a socket.
  const fd = (socket as unknown as { _handle?: { fd?: number } })._handle?.fd
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
