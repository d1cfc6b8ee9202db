/**
 * TLS credentials: the certificates and keys of a folder, with the names that libvirt, QEMU and nbdkit give them.
 *
 *   ca-cert.pem                       whose signature a peer's certificate must have
 *   server-cert.pem, server-key.pem   of a server
 *   client-cert.pem, client-key.pem   of a client; it may do without, when the server does not ask for them
 *
 * What is wrong with them is found when they are loaded, as in QEMU, and not when the first peer complains.
 *
 * @see QEMU crypto/tlscredsx509.c, docs/system/tls.rst
 */
import { createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto'
import * as fs from 'node:fs'
import { constants } from 'node:os'
import * as path from 'node:path'
import { configError, NBDError } from '../errors/nbd-error.ts'
import { errnoOf, reason } from '../errors/system-error.ts'
import { log } from '../log/log.ts'
import { tlsReason } from './tls-error.ts'
import { checkCreds } from './tls-handshake.ts'

/** Bytes of one file: hundreds of certificates fit. */
const MAX_PEM_SIZE = 1024 * 1024
/** Certificates in one file. */
const MAX_CERTIFICATES = 256

/** Postable: all of it is text. */
export interface TLSCreds {
  /**
   * Certificates, one of which must have signed the peer's. Undefined for a server whose clients need none, and for a
   * client that goes by the public CAs that Node.js trusts.
   */
  readonly ca: string | undefined
  /** Our certificate, and those between it and its CA; undefined when we have none. */
  readonly cert: string | undefined
  readonly key: string | undefined
  /** False for a client that takes any server's certificate. */
  readonly verifyPeer?: boolean
  /** For a client, in place of certificates. */
  readonly psk?: PreSharedKey
  /** For a server, in place of certificates: the keys of its clients, by their user names. */
  readonly keys?: ReadonlyMap<string, string>
}

/** @see loadClientPsk */
export interface PreSharedKey {
  readonly username: string
  /** In hexadecimal digits. */
  readonly key: string
}

/** The bytes of a key. @param key in hexadecimal digits */
export const keyBytes = (key: string): Buffer => Buffer.from(key, 'hex')

/**
 * Credentials of a server.
 *
 * @param folder with server-cert.pem, server-key.pem, and ca-cert.pem if clients are verified
 * @param options.verifyPeer whether a client must have a certificate that was signed by ca-cert.pem
 * @throws NBDError of kind `config`
 * @see QEMU's tls-creds-x509, endpoint=server
 */
export function loadServerCreds(folder: string, { verifyPeer }: { verifyPeer: boolean }): TLSCreds {
  checkFolder(folder)
  const own = ownCertificate(folder, 'server')
  if (!own) throw configError(`there is no '${path.join(folder, 'server-cert.pem')}'`)
  if (!verifyPeer) return checked(folder, { ca: undefined, cert: own.cert, key: own.key })
  const ca = caCertificates(folder, 'without it clients cannot be verified')
  checkIssuer(path.join(folder, 'server-cert.pem'), own.certificates, ca.certificates)
  return checked(folder, { ca: ca.text, cert: own.cert, key: own.key })
}

/**
 * Credentials of a client.
 *
 * @param folder with ca-cert.pem if the server is verified, and both or none of client-cert.pem and client-key.pem
 * @param options.verifyPeer false: any server will do, and ca-cert.pem is not looked at
 * @throws NBDError of kind `config`
 * @see QEMU's tls-creds-x509, endpoint=client
 */
export function loadClientCreds(
  folder: string,
  { verifyPeer = true }: { verifyPeer?: boolean } = {}
): TLSCreds {
  checkFolder(folder)
  const ca = verifyPeer ? caCertificates(folder, 'without it the server cannot be verified') : undefined
  const own = ownCertificate(folder, 'client')
  const creds = { ca: ca?.text, cert: own?.cert, key: own?.key }
  return checked(folder, verifyPeer ? creds : { ...creds, verifyPeer })
}

/** OpenSSL has limits of its own, on the strength of keys and signatures. */
function checked(folder: string, creds: TLSCreds): TLSCreds {
  try {
    checkCreds(creds)
    return creds
  } catch (error) {
    throw configError(`the certificates in '${folder}' cannot be used: ${tlsReason(error)}`, error)
  }
}

function checkFolder(folder: string): void {
  try {
    fs.accessSync(folder, fs.constants.X_OK)
  } catch (error) {
    throw configError(`TLS credentials: cannot look into '${folder}': ${reason(error)}`, error)
  }
}

interface OwnCertificate {
  cert: string
  key: string
  /** Ours first, then those that lead to the CA. */
  certificates: X509Certificate[]
}

/** @returns undefined when neither certificate nor key is there */
function ownCertificate(folder: string, who: 'server' | 'client'): OwnCertificate | undefined {
  const certFile = path.join(folder, `${who}-cert.pem`)
  const keyFile = path.join(folder, `${who}-key.pem`)
  const cert = readPem(certFile)
  const key = readPem(keyFile)
  if (cert === undefined && key === undefined) return undefined
  if (cert === undefined) throw configError(`there is no '${certFile}' for the key beside it`)
  if (key === undefined) throw configError(`there is no '${keyFile}' for the certificate beside it`)
  const certificates = parseCertificates(certFile, cert)
  checkTimes(certFile, certificates[0]!)
  if (certificates[0]!.ca) throw configError(`'${certFile}' is the certificate of a CA, not of a ${who}`)
  if (!certificates[0]!.checkPrivateKey(parseKey(keyFile, key))) {
    throw configError(`the key in '${keyFile}' does not belong to the certificate in '${certFile}'`)
  }
  return { cert, key, certificates }
}

function caCertificates(folder: string, why: string): { text: string; certificates: X509Certificate[] } {
  const file = path.join(folder, 'ca-cert.pem')
  const text = readPem(file)
  if (text === undefined) throw configError(`there is no '${file}': ${why}`)
  const certificates = parseCertificates(file, text)
  for (const certificate of certificates) {
    checkTimes(file, certificate)
    if (!certificate.ca) throw configError(`'${file}' has a certificate that is not of a CA`)
  }
  return { text, certificates }
}

/** @returns undefined when there is no such file */
function readPem(file: string): string | undefined {
  try {
    const stat = fs.statSync(file)
    if (!stat.isFile()) throw configError(`'${file}' is not a file`)
    if (stat.size > MAX_PEM_SIZE) throw configError(`'${file}' is too large: ${stat.size} bytes`)
    return fs.readFileSync(file, 'latin1')
  } catch (error) {
    if (NBDError.is(error)) throw error
    if (errnoOf(error) === constants.errno.ENOENT) return undefined
    throw configError(`cannot read '${file}': ${reason(error)}`, error)
  }
}

function parseCertificates(file: string, text: string): X509Certificate[] {
  const blocks = text.match(/-----BEGIN (?:TRUSTED )?CERTIFICATE-----[^-]*-----END [A-Z ]*-----/g) ?? []
  if (blocks.length === 0) throw configError(`'${file}' has no certificate in PEM form`)
  if (blocks.length > MAX_CERTIFICATES) throw configError(`'${file}' has ${blocks.length} certificates`)
  try {
    return blocks.map((block) => new X509Certificate(block))
  } catch (error) {
    throw configError(`'${file}' has a certificate that cannot be read`, error)
  }
}

function parseKey(file: string, text: string): KeyObject {
  try {
    return createPrivateKey(text)
  } catch (error) {
    if (/ENCRYPTED/.test(text)) throw configError(`the key in '${file}' is encrypted: not supported`, error)
    throw configError(`'${file}' has no private key in PEM form`, error)
  }
}

/** @see qcrypto_tls_creds_check_cert_times */
function checkTimes(file: string, { validFrom, validTo }: X509Certificate): void {
  const now = Date.now()
  if (Date.parse(validTo) < now) throw configError(`the certificate in '${file}' has expired, on ${validTo}`)
  if (Date.parse(validFrom) > now) {
    throw configError(`the certificate in '${file}' is not valid yet, but from ${validFrom} on`)
  }
}

/** QEMU refuses here; but a server's certificate may well be of another CA than its clients'. */
function checkIssuer(file: string, chain: X509Certificate[], cas: X509Certificate[]): void {
  const last = chain.at(-1)!
  if (cas.some((ca) => last.checkIssued(ca) && last.verify(ca.publicKey))) return
  log.warn(`'${file}' was not signed by the ca-cert.pem beside it: clients that have the same will refuse it`)
}
