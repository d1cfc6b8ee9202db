/** Whether a server listens: on a Unix socket, whose path may be given by itself, or on TCP. */
import * as net from 'node:net'

export function canConnect(address: string | net.NetConnectOpts): Promise<boolean> {
  return new Promise((resolve) => {
    const client = net.connect(typeof address === 'string' ? { path: address } : address)
    client.once('connect', () => resolve(true)).once('error', () => resolve(false))
    client.once('connect', () => client.destroy())
  })
}
