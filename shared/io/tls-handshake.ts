/**
 * The TLS handshake, by Node's tls module over a socket that is connected already.
 *
 * Node takes over the socket's handle: encryption and the system calls are done in C++, without a stream in between.
 */
import * as crypto from 'node:crypto'
import * as net from 'node:net'
import type { Duplex } from 'node:stream'
import * as tls from 'node:tls'
import type { NBDError } from '../errors/nbd-error.ts'
import { keyBytes, type PreSharedKey, type TLSCreds } from './tls-creds.ts'
import { tlsError, unknownUser } from './tls-error.ts'
import { PSK_CIPHERS } from './tls-psk-ciphers.ts'

/** Called once: with the encrypted socket, or why there is none. The listener attaches its own handlers at once. */
type Done = (outcome: tls.TLSSocket | NBDError) => void

/** @see tls.createSecureContext */
const contextOptions = ({ ca, cert, key }: TLSCreds): tls.SecureContextOptions => ({
  ca,
  cert,
  key,
  minVersion: 'TLSv1.2',
  // Nobody needs it, and it costs a server more than its client.
  secureOptions: crypto.constants.SSL_OP_NO_RENEGOTIATION
})

// Without any CA, Node would trust all public ones; and who proves itself by a key has no certificate to be trusted.
const serverOptions = (creds: TLSCreds): tls.SecureContextOptions => ({
  ...contextOptions(creds),
  ca: creds.ca ?? [],
  ...(creds.keys ? { ciphers: PSK_CIPHERS } : {})
})

const clientOptions = (creds: TLSCreds): tls.SecureContextOptions =>
  creds.psk ? { ...contextOptions(creds), ca: [], ciphers: PSK_CIPHERS } : contextOptions(creds)

/** @throws Error when OpenSSL does not take these credentials; `tlsReason` tells why */
export function checkCreds(creds: TLSCreds): void {
  tls.createSecureContext(serverOptions(creds))
}

/** One for all connections with the same credentials: making one takes milliseconds. None of them listens. */
const servers = new WeakMap<TLSCreds, tls.Server>()
const clients = new WeakMap<TLSCreds, tls.SecureContext>()

/** Handshakes of the servers, by the socket below. */
const handshakes = new WeakMap<net.Socket, Done>()

/**
 * The server's half. A client must have a certificate when the credentials have a CA.
 *
 * @param socket of which nothing was read; it is the handshake's, and when that fails it is destroyed
 */
export function startServerHandshake(socket: net.Socket, creds: TLSCreds, done: Done): void {
  let server = servers.get(creds)
  if (!server) servers.set(creds, (server = newServer(creds)))
  handshakes.set(socket, done)
  server.emit('connection', socket)
}

function newServer(creds: TLSCreds): tls.Server {
  const verify = creds.ca !== undefined
  const server = tls.createServer({
    ...serverOptions(creds),
    requestCert: verify,
    rejectUnauthorized: verify,
    ...(creds.keys ? { pskCallback: keyOf(creds.keys) } : {})
  })
  server.on('secureConnection', (socket) => finish(socket, socket))
  server.on('tlsClientError', (error, socket) => {
    // Node verifies behind the handshake, and tells by this alone why it then closes the connection.
    const { authorizationError } = socket as { authorizationError: Error | string | null }
    const stranger = strangers.get(socket)
    if (stranger !== undefined) finish(socket, unknownUser('TLS handshake', stranger))
    else finish(socket, tlsError('TLS handshake', authorizationError ?? error, 'client', creds))
  })
  return server
}

/** Users without a key, by the socket of those that said they were. */
const strangers = new WeakMap<tls.TLSSocket, string>()

const keyOf =
  (keys: ReadonlyMap<string, string>) =>
  (socket: tls.TLSSocket, username: string): Buffer | null => {
    const key = keys.get(username)
    if (key !== undefined) return keyBytes(key)
    strangers.set(socket, username)
    return null
  }

function finish(socket: tls.TLSSocket, outcome: tls.TLSSocket | NBDError): void {
  // Node has no public way to the socket below.
  const below = (socket as unknown as { _parent?: net.Socket })._parent
  const done = below && handshakes.get(below)
  if (!below || !done) {
    socket.destroy()
    return
  }
  handshakes.delete(below)
  done(outcome)
}

/**
 * The client's half. The server must have a certificate that was signed by the CA of the credentials, or know their
 * pre-shared key.
 *
 * @param socket as for `startServerHandshake`; or any stream
 * @param hostname of the server, or its IP address: its certificate must be for this
 */
export function startClientHandshake(socket: Duplex, creds: TLSCreds, hostname: string, done: Done): void {
  let secureContext = clients.get(creds)
  if (!secureContext) clients.set(creds, (secureContext = tls.createSecureContext(clientOptions(creds))))
  const secured = tls.connect({
    socket,
    secureContext,
    host: hostname,
    rejectUnauthorized: creds.verifyPeer !== false,
    // An address must not stand in this extension (RFC 6066).
    ...(net.isIP(hostname) === 0 ? { servername: hostname } : {}),
    ...(creds.psk ? pskOptions(creds.psk) : {})
  })
  let open = true
  const finished = (outcome: tls.TLSSocket | NBDError): void => {
    if (open) done(outcome)
    open = false
  }
  const failed = (error: Error | string): void => finished(tlsError('TLS handshake', error, 'server', creds))
  secured.on('secureConnect', () => finished(secured))
  secured.on('error', failed)
  secured.on('close', () => failed('ECONNRESET'))
}

const pskOptions = ({ username, key }: PreSharedKey): tls.ConnectionOptions => ({
  pskCallback: () => ({ identity: username, psk: keyBytes(key) }),
  // There is no certificate; one that is there all the same is refused, for want of a CA.
  checkServerIdentity: () => undefined
})
