/** Two ends of one stream: a channel as the server has it, and a plain socket as a client has it. */
import * as net from 'node:net'
import * as path from 'node:path'
import type { Test } from 'tap'
import { QIOChannelSocket } from '../../shared/io/channel-socket.ts'
import { duplicateFd } from '../../shared/syscall/fd.ts'
import { tempDir } from './temp-dir.ts'

export interface ChannelPair {
  channel: QIOChannelSocket
  peer: net.Socket
}

export class PairMaker {
  readonly #server: net.Server
  readonly #accepted: net.Socket[] = []
  #wake: (() => void) | undefined

  private constructor(server: net.Server) {
    this.#server = server
    server.on('connection', (socket) => {
      this.#accepted.push(socket)
      this.#wake?.()
    })
  }

  /** Listens until the test ends, on a Unix socket or on TCP. */
  static async listen(t: Test, family: 'unix' | 'tcp' = 'unix'): Promise<PairMaker> {
    const server = net.createServer({ pauseOnConnect: true })
    const address = family === 'unix' ? { path: path.join(tempDir(t), 's') } : { host: '127.0.0.1', port: 0 }
    await new Promise<void>((resolve) => server.listen(address, resolve))
    t.teardown(() => new Promise((resolve) => server.close(resolve)))
    return new PairMaker(server)
  }

  /** Descriptor of the server's end, the caller's; and the client's end. */
  async descriptor(): Promise<{ fd: number; peer: net.Socket }> {
    const address = this.#server.address()
    if (address === null) throw new Error('it does not listen')
    const options =
      typeof address === 'string' ? { path: address } : { host: address.address, port: address.port }
    const peer = net.connect({ ...options, allowHalfOpen: true })
    await new Promise<void>((resolve, reject) => {
      peer.once('connect', resolve)
      peer.once('error', reject)
    })
    while (this.#accepted.length === 0) await new Promise<void>((resolve) => (this.#wake = resolve))
    const socket = this.#accepted.shift()!
    const fd = duplicateFd((socket as unknown as { _handle: { fd: number } })._handle.fd)
    socket.destroy()
    return { fd, peer }
  }

  /** A new pair; both ends are closed with the test. */
  async make(t: Test): Promise<ChannelPair> {
    const { fd, peer } = await this.descriptor()
    const channel = new QIOChannelSocket(fd)
    t.teardown(async () => {
      peer.destroy()
      channel.shutdown('both')
      await channel.close()
    })
    return { channel, peer }
  }
}

/** One pair over a Unix socket. */
export const channelPair = async (t: Test): Promise<ChannelPair> => (await PairMaker.listen(t)).make(t)
