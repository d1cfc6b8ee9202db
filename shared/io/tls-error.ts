/** What the failures of TLS mean, in words about the peer. */
import { NBDError } from '../errors/nbd-error.ts'
import { printable } from '../config/printable.ts'
import { reason } from '../errors/system-error.ts'
import type { TLSCreds } from './tls-creds.ts'

/** Who is at the other end. */
export type Peer = 'client' | 'server'

/**
 * What an error of OpenSSL or Node, or the code of a failed verification, says about the peer.
 *
 * @param creds ours, by which the peer was verified; absent when they are known to have a CA
 * @returns of kind `transport` when the connection was lost; else `protocol`
 */
export function tlsError(what: string, error: Error | string, peer: Peer, creds?: TLSCreds): NBDError {
  const code = typeof error === 'string' ? error : 'code' in error ? String(error.code) : ''
  const kind = lost.has(code) ? 'transport' : 'protocol'
  const text = meanings[code]?.(peer, creds) ?? otherMeaning(code, error, peer, creds)
  return new NBDError(kind, `${what}: ${text}`, typeof error === 'string' ? {} : { cause: error })
}

/** Of a client whose user has no pre-shared key here. */
export const unknownUser = (what: string, username: string): NBDError =>
  new NBDError('protocol', `${what}: the client's user '${printable(username)}' has no key here`)

function otherMeaning(code: string, error: Error | string, peer: Peer, creds?: TLSCreds): string {
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return `the ${peer}'s certificate is for another: ${tlsReason(error)}`
  if (code.includes('_ALERT_')) {
    const why = creds?.psk ? ', perhaps since it has no key for this user, or another' : ''
    return `the ${peer} refuses: ${tlsReason(error)}${why}`
  }
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
const otherKey = (peer: Peer): string => `the ${peer} has another key for this user`
const noKey = (peer: Peer, creds?: TLSCreds): string =>
  creds?.keys ? `the ${peer} has no pre-shared key` : `the ${peer} has no cipher in common with us`
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
  ERR_SSL_BINDER_DOES_NOT_VERIFY: otherKey,
  ERR_SSL_NO_SHARED_CIPHER: noKey,
  ERR_SSL_NO_SUITABLE_SIGNATURE_ALGORITHM: noKey,
  ERR_SSL_WRONG_VERSION_NUMBER: notTls,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: notTls,
  ERR_SSL_HTTP_REQUEST: notTls,
  ERR_SSL_UNSUPPORTED_PROTOCOL: (peer) => `the ${peer} offers no version of TLS from 1.2 on`,
  ERR_SSL_TLSV1_ALERT_UNKNOWN_CA: (peer) => `the ${peer} does not know the CA of our certificate`,
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: noneWanted,
  ECONNRESET: closed,
  EPIPE: closed
}

/** Those of `meanings` that are the outcome of a verification. @see X509_V_ERR_* in openssl/x509_vfy.h */
const verifyCodes: Record<number, string> = {
  2: 'UNABLE_TO_GET_ISSUER_CERT',
  7: 'CERT_SIGNATURE_FAILURE',
  9: 'CERT_NOT_YET_VALID',
  10: 'CERT_HAS_EXPIRED',
  18: 'DEPTH_ZERO_SELF_SIGNED_CERT',
  19: 'SELF_SIGNED_CERT_IN_CHAIN',
  20: 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  21: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  26: 'INVALID_PURPOSE'
}

/** What Node.js calls the outcome of a verification; undefined for those without a meaning of their own here. */
export const verifyCode = (result: number): string | undefined => verifyCodes[result]

/** OpenSSL's own words for what went wrong, without its code and line. */
export function tlsReason(error: unknown): string {
  if (error instanceof Error && 'reason' in error && typeof error.reason === 'string') return error.reason
  return reason(error).trim()
}
