/** The two ends of a TLS connection, and certificates for them. */
import * as net from 'node:net'
import * as tls from 'node:tls'
import t, { type Test } from 'tap'
import { loadClientCreds, loadServerCreds, type TLSCreds } from '../../../../shared/io/tls-creds.ts'
import { requires } from '../../../helpers/requires.ts'
import { TestCA } from '../../../helpers/tls-certs.ts'

/** Whatever makes certificates. */
export const needs = requires('certtool')

interface Creds {
  ca: TestCA
  server: TLSCreds
  client: TLSCreds
}

function makeCreds(): Creds {
  const ca = TestCA.make(t).server().client()
  return { ca, server: loadServerCreds(ca.folder, { verifyPeer: true }), client: loadClientCreds(ca.folder) }
}

let good: Creds | undefined
let foreign: Creds | undefined
export const creds = (): Creds => (good ??= makeCreds())
/** Of a CA that nobody else knows. */
export const foreignCreds = (): Creds => (foreign ??= makeCreds())

/** A client of Node's own, over the plain socket. */
export function nodeClient(t: Test, peer: net.Socket, options: tls.ConnectionOptions = {}): tls.TLSSocket {
  const { ca, cert, key } = creds().client
  const client = tls.connect({ socket: peer, servername: 'localhost', ca, cert, key, ...options })
  client.on('error', () => undefined)
  t.teardown(() => client.destroy())
  return client
}

export const firstBytes = (socket: net.Socket): Promise<Buffer> =>
  new Promise((resolve) => socket.once('data', (bytes: Buffer) => resolve(bytes)))
