/** What a peer of a WebSocket sends, spelled out; and channels after their handshake. */
import { Coroutine } from '../../../../shared/coroutine/coroutine.ts'
import { QIOChannelPair } from '../../../../shared/io/channel-pair.ts'
import type { QIOChannel } from '../../../../shared/io/channel.ts'
import { QIOChannelWebsock, type WebsockOptions } from '../../../../shared/io/channel-websock.ts'
import { within } from '../../../helpers/wait-for.ts'
import { receive, send } from './channel-bytes.ts'

/** RFC 6455, section 1.3, and what QEMU asks for. */
export const KEY = 'dGhlIHNhbXBsZSBub25jZQ=='
export const ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='
export const REQUEST = [
  'GET / HTTP/1.1',
  'Host: localhost',
  'Upgrade: websocket',
  'Connection: keep-alive, Upgrade',
  `Sec-WebSocket-Key: ${KEY}`,
  'Sec-WebSocket-Protocol: chat, binary',
  'Sec-WebSocket-Version: 13'
]
export const AGREES = [
  'HTTP/1.1 101 Switching Protocols',
  'Upgrade: websocket',
  'Connection: Upgrade',
  `Sec-WebSocket-Accept: ${ACCEPT}`,
  'Sec-WebSocket-Protocol: binary'
]
export const head = (lines: string[]): string => [...lines, '\r\n'].join('\r\n')
/** The same lines, with one of them changed or left away. */
export const changed = (lines: string[], from: string | RegExp, to: string): string[] =>
  lines.map((line) => line.replace(from, to)).filter(Boolean)

export async function receiveHead(channel: QIOChannel): Promise<string> {
  let text = ''
  while (!text.endsWith('\r\n\r\n')) text += (await receive(channel, 1)).toString('latin1')
  return text
}

/** A frame, spelled out. */
export function frame(opcode: number, payload: Buffer | string, { fin = true, mask = false } = {}): Buffer {
  const bytes = Buffer.from(payload)
  const length =
    bytes.length < 126
      ? Buffer.from([bytes.length])
      : bytes.length < 65536
        ? Buffer.from([126, bytes.length >> 8, bytes.length & 255])
        : Buffer.concat([
            Buffer.from([127, 0, 0, 0, 0]),
            Buffer.from(Uint32Array.of(bytes.length).buffer).reverse()
          ])
  if (mask) length[0]! |= 0x80
  const key = [0x12, 0x34, 0x56, 0x78]
  return Buffer.concat([
    Buffer.from([(fin ? 0x80 : 0) | opcode]),
    length,
    ...(mask ? [Buffer.from(key), bytes.map((byte, i) => byte ^ key[i % 4]!)] : [bytes])
  ])
}
/** As a client sends it. */
export const masked = (opcode: number, payload: Buffer | string, fin = true): Buffer =>
  frame(opcode, payload, { fin, mask: true })

export const binary = 2
export const close = (code: number): Buffer => Buffer.from([code >> 8, code & 255])

/** A server after its handshake, and the other end of the channel beneath. */
export async function serverAndPeer(
  options?: WebsockOptions,
  capacity?: number
): Promise<{ server: QIOChannelWebsock; peer: QIOChannelPair }> {
  const [master, peer] = QIOChannelPair.create(capacity)
  const accepted = Coroutine.start(() => QIOChannelWebsock.accept(master, options))
  await send(peer, head(REQUEST))
  const server = await within('the handshake', accepted)
  await receiveHead(peer)
  return { server, peer }
}

/** A client after its handshake, and the other end of the channel beneath. */
export async function clientAndPeer(): Promise<{ client: QIOChannelWebsock; peer: QIOChannelPair }> {
  const [master, peer] = QIOChannelPair.create()
  const [client] = await Promise.all([
    Coroutine.start(() => QIOChannelWebsock.connect(master, 'localhost')),
    Coroutine.start(() => QIOChannelWebsock.accept(peer))
  ])
  return { client, peer }
}
