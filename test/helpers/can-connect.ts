/** Whether a server listens on a Unix socket. */
import * as net from 'node:net'

export function canConnect(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const client = net.connect(socket)
    client.once('connect', () => resolve(true)).once('error', () => resolve(false))
    client.once('connect', () => client.destroy())
  })
}
