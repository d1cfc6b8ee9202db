/**
 * NBD in a WebSocket, for servers behind an HTTP gateway: `ws://HOST:PORT/PATH`, and `wss` with TLS below it.
 *
 * @see RFC 6455, section 3; QEMU docs/interop/vnc-ws.txt has the same sub-protocol
 */
import { constants } from 'node:os'
import { Coroutine } from '../../shared/coroutine/coroutine.ts'
import { NBDError } from '../../shared/errors/nbd-error.ts'
import { newTLSClient } from '../../shared/io/open-tls.ts'
import { QIOChannelWebsock } from '../../shared/io/channel-websock.ts'
import type { QIOChannel } from '../../shared/io/channel.ts'
import { connectSocket } from '../../shared/io/connect.ts'
import type { ClientTLS } from './client-tls.ts'
import type { WebsocketAddress } from './websocket-url.ts'

/**
 * Connects, and shakes hands up to the WebSocket.
 *
 * @param tls undefined unless `secure`
 * @returns a channel, the caller's to close
 * @throws NBDError of kind `transport` or `protocol`
 */
export async function openWebsocket(
  { host, port, authority, path }: WebsocketAddress,
  tls: ClientTLS | undefined,
  timeoutMs: number
): Promise<QIOChannel> {
  const start = performance.now()
  const socket = await connectSocket({ host, port }, timeoutMs)
  let channel: QIOChannel = socket
  let late = false
  const timer = setTimeout(
    () => {
      late = true
      channel.shutdown('both')
    },
    Math.max(0, timeoutMs - (performance.now() - start))
  )
  try {
    if (tls) {
      const secured = newTLSClient(socket.detach(), tls.creds, tls.hostname)
      channel = secured
      await Coroutine.start(() => secured.handshake(timeoutMs))
    }
    return await Coroutine.start(() => QIOChannelWebsock.connect(channel, authority, { path }))
  } catch (error) {
    await channel.close()
    if (!late) throw error
    const text = `the WebSocket was not there within ${timeoutMs} ms`
    throw new NBDError('transport', text, { errno: constants.errno.ETIMEDOUT, cause: error })
  } finally {
    clearTimeout(timer)
  }
}
