/** An HTTP server whose WebSockets lead to an NBD server on a Unix socket. */
import * as http from 'node:http'
import * as https from 'node:https'
import * as net from 'node:net'
import type { Test } from 'tap'
import { Coroutine, type CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { QIOChannelStream } from '../../shared/io/channel-stream.ts'
import { QIOChannelWebsock } from '../../shared/io/channel-websock.ts'
import { QIO_CHANNEL_ERR_BLOCK, type QIOChannel } from '../../shared/io/channel.ts'
import { Memory } from '../../shared/syscall/memory.ts'

/** @param tls for one that speaks HTTPS @returns its port on 127.0.0.1; it is closed with the test */
export async function websocketGateway(
  t: Test,
  socket: string,
  path: string,
  tls?: https.ServerOptions
): Promise<number> {
  const gateway = tls ? https.createServer(tls) : http.createServer()
  const clients: net.Socket[] = []
  gateway.on('connection', (client: net.Socket) => clients.push(client))
  // The WebSocket's own code answers the request: it gets the bytes as they came.
  gateway.on('upgrade', (request, client, head: Buffer) => {
    const raw = request.rawHeaders
    const headers = raw.flatMap((name, i) => (i % 2 === 0 ? [`${name}: ${raw[i + 1]}\r\n`] : []))
    client.unshift(
      Buffer.concat([Buffer.from(`GET ${request.url} HTTP/1.1\r\n${headers.join('')}\r\n`), head])
    )
    void join(new QIOChannelStream(client), new QIOChannelStream(net.connect(socket)), path)
  })
  await new Promise<void>((resolve) => gateway.listen(0, '127.0.0.1', resolve))
  t.teardown(async () => {
    for (const client of clients) client.destroy()
    await new Promise((resolve) => gateway.close(resolve))
  })
  return (gateway.address() as net.AddressInfo).port
}

async function join(client: QIOChannel, server: QIOChannel, path: string): Promise<void> {
  let inner = client
  try {
    inner = await Coroutine.start(() => QIOChannelWebsock.accept(client, { path }))
    await Promise.race([move(inner, server), move(server, inner)])
  } catch {
    // The client is told nothing: the end says it.
  }
  await Promise.all([inner.close(), server.close()])
}

const move = (from: QIOChannel, to: QIOChannel): Promise<void> =>
  Coroutine.start(function* (): CoroutineFn {
    const memory = Memory.allocate(65536)
    for (;;) {
      const n = from.readv([{ memory, start: 0, end: memory.length }])
      if (n === 0) return
      if (n === QIO_CHANNEL_ERR_BLOCK) yield* from.yield('in')
      else yield* to.writevAll([{ memory, start: 0, end: n }])
    }
  })
