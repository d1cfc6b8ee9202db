/**
 * What all TLS connections with the same credentials share: an SSL_CTX of OpenSSL's.
 *
 * @context the thread that made it
 */
import * as tls from 'node:tls'
import { bugError } from '../errors/nbd-error.ts'
import { Memory } from '../syscall/memory.ts'
import type { OpenSSL } from '../syscall/openssl.ts'
import type { TLSCreds } from './tls-creds.ts'
import type { Peer } from './tls-error.ts'
import { forgetPreSharedKeys, usePreSharedKeys } from './tls-psk-callbacks.ts'
import { PSK_CIPHERS } from './tls-psk-ciphers.ts'

// Of openssl/ssl.h, openssl/tls1.h.
const SSL_CTRL_MODE = 33
const SSL_CTRL_SET_SESS_CACHE_MODE = 44
const SSL_CTRL_CHAIN_CERT = 89
const SSL_CTRL_SET_MIN_PROTO_VERSION = 123
const SSL_CTRL_SET_MAX_PROTO_VERSION = 124
const TLS1_2_VERSION = 0x0303
const TLS1_3_VERSION = 0x0304
const SSL_OP_NO_TICKET = 1 << 14
const SSL_OP_CIPHER_SERVER_PREFERENCE = 1 << 22
const SSL_OP_NO_RENEGOTIATION = 1 << 30
const SSL_SESS_CACHE_OFF = 0
const SSL_VERIFY_NONE = 0
const SSL_VERIFY_PEER = 1
const SSL_VERIFY_FAIL_IF_NO_PEER_CERT = 2
/** An idle connection keeps no record buffers. */
const SSL_MODE_RELEASE_BUFFERS = 0x10

/** By who is at the other end. */
type Contexts = Partial<Record<Peer, number>>

const made = new WeakMap<TLSCreds, Contexts>()
const unused = new FinalizationRegistry<{ ssl: OpenSSL; context: number }>(({ ssl, context }) => {
  forgetPreSharedKeys(context)
  ssl.SSL_CTX_free(context)
})

/** Whether `tlsContext` takes a client's credentials: they need no CA that only Node.js knows. */
export const hasContext = ({ ca, psk, verifyPeer }: TLSCreds): boolean =>
  psk !== undefined || ca !== undefined || verifyPeer === false

/**
 * @param creds those that were loaded: what is wrong with them was found then
 * @returns an SSL_CTX that lives as long as `creds`
 */
export function tlsContext(ssl: OpenSSL, creds: TLSCreds, peer: Peer): number {
  let contexts = made.get(creds)
  if (!contexts) made.set(creds, (contexts = {}))
  return (contexts[peer] ??= newContext(ssl, creds, peer))
}

function newContext(ssl: OpenSSL, creds: TLSCreds, peer: Peer): number {
  const method = peer === 'client' ? ssl.TLS_server_method() : ssl.TLS_client_method()
  const context = must(ssl, ssl.SSL_CTX_new(method))
  unused.register(creds, { ssl, context })
  ssl.SSL_CTX_ctrl(context, SSL_CTRL_MODE, SSL_MODE_RELEASE_BUFFERS, 0)
  // A connection lasts; nobody comes back with a ticket.
  ssl.SSL_CTX_ctrl(context, SSL_CTRL_SET_SESS_CACHE_MODE, SSL_SESS_CACHE_OFF, 0)
  ssl.SSL_CTX_set_num_tickets(context, 0)
  ssl.SSL_CTX_set_options(
    context,
    SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_RENEGOTIATION
  )
  const byKey = creds.psk !== undefined || creds.keys !== undefined
  setCiphers(ssl, context, byKey ? PSK_CIPHERS : tls.DEFAULT_CIPHERS)
  usePreSharedKeys(ssl, context, creds)
  if (creds.cert !== undefined && creds.key !== undefined) useCertificate(ssl, context, creds.cert, creds.key)
  const verify = creds.ca !== undefined && creds.verifyPeer !== false
  if (verify) trust(ssl, context, creds.ca, peer)
  const mode = peer === 'client' ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT : SSL_VERIFY_PEER
  // A server that has a certificate in place of the key is refused, for want of a CA.
  ssl.SSL_CTX_set_verify(context, verify || creds.psk ? mode : SSL_VERIFY_NONE, 0)
  return context
}

/**
 * Also limits the versions, to those that have ciphers, and as --tls-max-v1.2 says.
 *
 * @param list names as --tls-cipher-list of Node.js takes them
 * @see processCiphers in Node's lib/internal/tls/secure-context.js
 */
function setCiphers(ssl: OpenSSL, context: number, list: string): void {
  const ciphers = list.split(':')
  const isSuite = (cipher: string): boolean => cipher.startsWith('TLS_')
  const suites = ciphers.filter(isSuite)
  const older = ciphers.filter((cipher) => !isSuite(cipher))
  must(ssl, ssl.SSL_CTX_set_ciphersuites(context, suites.join(':')))
  if (older.length > 0) must(ssl, ssl.SSL_CTX_set_cipher_list(context, older.join(':')))
  const least = older.length > 0 ? TLS1_2_VERSION : TLS1_3_VERSION
  const most = suites.length > 0 && tls.DEFAULT_MAX_VERSION === 'TLSv1.3' ? TLS1_3_VERSION : TLS1_2_VERSION
  ssl.SSL_CTX_ctrl(context, SSL_CTRL_SET_MIN_PROTO_VERSION, least, 0)
  ssl.SSL_CTX_ctrl(context, SSL_CTRL_SET_MAX_PROTO_VERSION, most, 0)
}

/** Ours, and those between it and its CA. */
function useCertificate(ssl: OpenSSL, context: number, cert: string, key: string): void {
  const [own, ...between] = readCertificates(ssl, cert)
  must(ssl, ssl.SSL_CTX_use_certificate(context, own!))
  ssl.X509_free(own!)
  // These are the context's from now on.
  for (const certificate of between) must(ssl, ssl.SSL_CTX_ctrl(context, SSL_CTRL_CHAIN_CERT, 0, certificate))
  const privateKey = withText(ssl, key, (bio) => must(ssl, ssl.PEM_read_bio_PrivateKey(bio, 0, 0, '')))
  must(ssl, ssl.SSL_CTX_use_PrivateKey(context, privateKey))
  ssl.EVP_PKEY_free(privateKey)
}

function trust(ssl: OpenSSL, context: number, ca: string, peer: Peer): void {
  const store = ssl.SSL_CTX_get_cert_store(context)
  for (const certificate of readCertificates(ssl, ca)) {
    must(ssl, ssl.X509_STORE_add_cert(store, certificate))
    // Tells a client whose signature its certificate is to have.
    if (peer === 'client') must(ssl, ssl.SSL_CTX_add_client_CA(context, certificate))
    ssl.X509_free(certificate)
  }
}

/** @returns X509 structures, the caller's to free */
const readCertificates = (ssl: OpenSSL, text: string): number[] =>
  withText(ssl, text, (bio) => {
    const certificates: number[] = []
    for (;;) {
      const certificate = ssl.PEM_read_bio_X509_AUX(bio, 0, 0, '')
      if (certificate === 0) break
      certificates.push(certificate)
    }
    // The end of the text, which is said to be an error.
    ssl.ERR_clear_error()
    return certificates
  })

function withText<T>(ssl: OpenSSL, text: string, read: (bio: number) => T): T {
  const bytes = Buffer.from(text, 'latin1')
  const memory = Memory.allocate(bytes.length)
  bytes.copy(memory.buffer)
  const bio = must(ssl, ssl.BIO_new_mem_buf(memory.address, bytes.length))
  try {
    return read(bio)
  } finally {
    ssl.BIO_free(bio)
    memory.buffer.fill(0)
  }
}

/** What cannot fail with credentials that were checked. */
function must(ssl: OpenSSL, result: number): number {
  if (result > 0) return result
  throw bugError(`OpenSSL: ${ssl.ERR_reason_error_string(ssl.ERR_get_error()) ?? 'no reason given'}`)
}
