/**
 * The TLS handshake, by Node's tls module over a socket that is connected already, and what its failures mean.
 *
 * Node takes over the socket's handle: encryption and the system calls are done in C++, without a stream in between.
 */
import * as crypto from 'node:crypto'
import * as net from 'node:net'
import type { Duplex } from 'node:stream'
import * as tls from 'node:tls'
import { NBDError } from '../errors/nbd-error.ts'
import { reason } from '../errors/system-error.ts'
import type { PreSharedKey, TLSCreds } from './tls-creds.ts'

/** Called once: with the encrypted socket, or why there is none. The listener attaches its own handlers at once. */
type Done = (outcome: tls.TLSSocket | NBDError) => void

/** Who is at the other end. */
export type Peer = 'client' | 'server'

/**
 * Those that prove by a pre-shared key alone who is there; in TLS 1.3 the cipher does not say. OpenSSL binds a key to
 * SHA-256.
 */
const PSK_CIPHERS = 'TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:kECDHEPSK:kDHEPSK:kPSK:!eNULL'

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
  ca: creds.ca ?? []
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
    rejectUnauthorized: verify
  })
  server.on('secureConnection', (socket) => finish(socket, socket))
  server.on('tlsClientError', (error, socket) => {
    // Node verifies behind the handshake, and tells by this alone why it then closes the connection.
    const { authorizationError } = socket as { authorizationError: Error | string | null }
    finish(socket, tlsError('TLS handshake', authorizationError ?? error, 'client'))
  })
  return server
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
  pskCallback: () => ({ identity: username, psk: Buffer.from(key, 'hex') }),
  // There is no certificate; one that is there all the same is refused, for want of a CA.
  checkServerIdentity: () => undefined
})

/**
 * What an error of OpenSSL or Node, or the code of a failed verification, says about the peer.
 *
 * @param creds ours, by which the peer was verified; absent when they are known to have a CA
 * @returns of kind `transport` when the connection was lost; else `protocol`
 */
export function tlsError(what: string, error: Error | string, peer: Peer, creds?: TLSCreds): NBDError {
  const code = typeof error === 'string' ? error : 'code' in error ? String(error.code) : ''
  const kind = lost.has(code) ? 'transport' : 'protocol'
  const text = meanings[code]?.(peer, creds) ?? otherMeaning(code, error, peer)
  return new NBDError(kind, `${what}: ${text}`, typeof error === 'string' ? {} : { cause: error })
}

function otherMeaning(code: string, error: Error | string, peer: Peer): string {
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return `the ${peer}'s certificate is for another: ${tlsReason(error)}`
  if (code.includes('_ALERT_')) return `the ${peer} refuses: ${tlsReason(error)}`
  return typeof error === 'string' ? `the ${peer}'s certificate: ${error}` : tlsReason(error)
}

const lost = new Set(['ECONNRESET', 'EPIPE', 'ETIMEDOUT'])
function notSigned(peer: Peer, creds?: TLSCreds): string {
  if (creds?.psk) return `the ${peer} has a certificate, and not the pre-shared key`
  const signer = creds && creds.ca === undefined ? 'a CA that Node.js trusts' : 'ca-cert.pem'
  return `the ${peer}'s certificate was not signed by ${signer}`
}
const notTls = (peer: Peer): string => `what the ${peer} sends is not TLS`
// GnuTLS says nothing more to a client with a wrong key.
const closed = (peer: Peer, creds?: TLSCreds): string =>
  `the ${peer} closed the connection${creds?.psk ? ', perhaps since it has another key for this user' : ''}`
const noneWanted = (peer: Peer): string =>
  `the ${peer} wants a certificate of ours, and we have none that it takes`

/** By the code of an error, or of a failed verification. @see X509_verify_cert_error_string in OpenSSL */
const meanings: Record<string, (peer: Peer, creds?: TLSCreds) => string> = {
  DEPTH_ZERO_SELF_SIGNED_CERT: notSigned,
  SELF_SIGNED_CERT_IN_CHAIN: notSigned,
  UNABLE_TO_GET_ISSUER_CERT: notSigned,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: notSigned,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: notSigned,
  CERT_SIGNATURE_FAILURE: notSigned,
  CERT_HAS_EXPIRED: (peer) => `the ${peer}'s certificate has expired`,
  CERT_NOT_YET_VALID: (peer) => `the ${peer}'s certificate is not valid yet`,
  INVALID_PURPOSE: (peer) => `the ${peer}'s certificate is not for a ${peer}`,
  ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE: (peer) => `the ${peer} has no certificate`,
  ERR_SSL_WRONG_VERSION_NUMBER: notTls,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: notTls,
  ERR_SSL_HTTP_REQUEST: notTls,
  ERR_SSL_UNSUPPORTED_PROTOCOL: (peer) => `the ${peer} offers no version of TLS from 1.2 on`,
  ERR_SSL_TLSV1_ALERT_UNKNOWN_CA: (peer) => `the ${peer} does not know the CA of our certificate`,
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: noneWanted,
  ECONNRESET: closed,
  EPIPE: closed
}

/** OpenSSL's own words for what went wrong, without its code and line. */
export function tlsReason(error: unknown): string {
  if (error instanceof Error && 'reason' in error && typeof error.reason === 'string') return error.reason
  return reason(error).trim()
}
