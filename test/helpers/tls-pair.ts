/** Both ends of a connection that are to speak TLS. */
import * as net from 'node:net'
import type { Test } from 'tap'
import { Coroutine } from '../../shared/coroutine/coroutine.ts'
import { QIOChannelNodeTLS } from '../../shared/io/channel-node-tls.ts'
import { QIOChannelOpenSSL } from '../../shared/io/channel-openssl.ts'
import type { DetachedSocket, QIOChannelTLS } from '../../shared/io/channel-tls.ts'
import type { TLSCreds } from '../../shared/io/tls-creds.ts'
import { duplicateFd } from '../../shared/syscall/fd.ts'
import { openssl } from '../../shared/syscall/openssl.ts'
import { PairMaker } from './raw-pair.ts'

const nothing: Buffer = Buffer.alloc(0)

/** Who does the work. */
export type TLSWay = 'openssl' | 'node:tls'
let tlsWay: TLSWay = 'openssl'

/** Of the channels that are made from now on. */
export const useTLS = (way: TLSWay): void => void (tlsWay = way)

export const newTLSServer = (socket: DetachedSocket, creds: TLSCreds, way = tlsWay): QIOChannelTLS =>
  way === 'openssl'
    ? QIOChannelOpenSSL.newServer(openssl()!, socket, creds)
    : QIOChannelNodeTLS.newServer(socket, creds)

export const newTLSClient = (
  socket: DetachedSocket,
  creds: TLSCreds,
  hostname: string,
  way = tlsWay
): QIOChannelTLS =>
  way === 'openssl'
    ? QIOChannelOpenSSL.newClient(openssl()!, socket, creds, hostname)
    : QIOChannelNodeTLS.newClient(socket, creds, hostname)

export interface TLSPair {
  server: QIOChannelTLS
  client: QIOChannelTLS
}

/** Closed with the test. */
export function closedWith<T extends QIOChannelTLS>(t: Test, channel: T): T {
  t.teardown(() => {
    channel.shutdown('both')
    return channel.close()
  })
  return channel
}

/** A server's end without a handshake, and the plain socket of its peer. */
export async function tlsServer(
  t: Test,
  maker: PairMaker,
  creds: TLSCreds,
  unread = nothing
): Promise<{ server: QIOChannelTLS; peer: net.Socket }> {
  const { fd, peer } = await maker.descriptor()
  peer.on('error', () => undefined)
  t.teardown(() => peer.destroy())
  return { server: closedWith(t, newTLSServer({ fd, unread }, creds)), peer }
}

/** The client's end of a connection, in place of the plain socket. */
export function tlsClient(t: Test, peer: net.Socket, creds: TLSCreds, hostname = 'localhost'): QIOChannelTLS {
  const fd = duplicateFd((peer as unknown as { _handle: { fd: number } })._handle.fd)
  peer.destroy()
  return closedWith(t, newTLSClient({ fd, unread: nothing }, creds, hostname))
}

/** How a handshake ended at each end: `done`, or the text of the error. */
export async function handshakes(
  { server, client }: TLSPair,
  timeoutMs?: number
): Promise<{ server: string; client: string }> {
  const outcome = (channel: QIOChannelTLS): Promise<string> =>
    Coroutine.start(() => channel.handshake(timeoutMs)).then(
      () => 'done',
      (error: Error) => error.message
    )
  const [s, c] = await Promise.all([outcome(server), outcome(client)])
  return { server: s, client: c }
}

/** Both ends, after the handshake. */
export async function tlsPair(
  t: Test,
  maker: PairMaker,
  creds: { server: TLSCreds; client: TLSCreds }
): Promise<TLSPair> {
  const { server, peer } = await tlsServer(t, maker, creds.server)
  const pair = { server, client: tlsClient(t, peer, creds.client) }
  const { server: s, client: c } = await handshakes(pair)
  if (s !== 'done' || c !== 'done') throw new Error(`server: ${s}; client: ${c}`)
  return pair
}
