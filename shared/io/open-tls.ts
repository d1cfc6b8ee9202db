/**
 * TLS in the way that is the fastest for what is below it: OpenSSL between memory and a socket where both are there, and
 * else node:tls.
 *
 * node:tls does it for streams; for the CAs that Node.js brings, which it knows how to use; and where OpenSSL cannot be
 * called.
 */
import { openssl } from '../syscall/openssl.ts'
import { QIOChannelNodeTLS } from './channel-node-tls.ts'
import { QIOChannelOpenSSL } from './channel-openssl.ts'
import type { DetachedSocket, QIOChannelTLS, TLSMaster } from './channel-tls.ts'
import { hasContext } from './tls-context.ts'
import type { TLSCreds } from './tls-creds.ts'

/**
 * The server's end. Takes over the connection; the channel closes it.
 *
 * @param detached what was not consumed of it is taken for TLS
 * @param creds when they have a CA, the client must have a certificate that was signed by it; when they have keys, one of these
 * @see qio_channel_tls_new_server
 */
export function newTLSServer(detached: DetachedSocket, creds: TLSCreds): QIOChannelTLS {
  const ssl = openssl()
  return ssl
    ? QIOChannelOpenSSL.newServer(ssl, detached, creds)
    : QIOChannelNodeTLS.newServer(detached, creds)
}

/**
 * The client's end. Takes over the connection; the channel closes it.
 *
 * @param master what was not consumed of it is taken for TLS
 * @param hostname that the server's certificate must be for; or an IP address
 * @see qio_channel_tls_new_client
 */
export function newTLSClient(master: TLSMaster, creds: TLSCreds, hostname: string): QIOChannelTLS {
  const ssl = openssl()
  return ssl && !('stream' in master) && hasContext(creds)
    ? QIOChannelOpenSSL.newClient(ssl, master, creds, hostname)
    : QIOChannelNodeTLS.newClient(master, creds, hostname)
}
