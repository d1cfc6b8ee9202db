/**
 * What a client brings to TLS, and what it demands of the server: from the parameters of a URI or of a program.
 *
 * @see nbd_set_tls_certificates(3), nbd_set_tls_psk_file(3), nbd_set_tls_username(3), nbd_set_tls_hostname(3)
 */
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { configError } from '../../shared/errors/nbd-error.ts'
import { loadClientCreds, type TLSCreds } from '../../shared/io/tls-creds.ts'
import { loadClientPsk } from '../../shared/io/tls-psk.ts'
import type { NBDAddress } from '../../shared/protocol/uri.ts'
import { tlsProblem, type TLSParameters } from '../../shared/protocol/uri-tls.ts'

export interface ClientTLS {
  creds: TLSCreds
  /** That the server's certificate must be for. */
  hostname: string
}

/**
 * Loads the files that the parameters name, or those at the default places.
 *
 * @param address undefined when nothing is known of where the server is
 * @throws NBDError of kind `config`
 */
export function clientTls(parameters: TLSParameters, address: NBDAddress | undefined): ClientTLS {
  const problem = tlsProblem(parameters)
  if (problem !== undefined) throw configError(problem)
  // What is reached without a network is taken for this machine.
  const hostname = parameters.hostname ?? (address && 'host' in address ? address.host : 'localhost')
  return { creds: clientCreds(parameters), hostname }
}

function clientCreds({ username, verifyPeer = true, certificates, pskFile }: TLSParameters): TLSCreds {
  if (pskFile !== undefined) return loadClientPsk(pskFile, username ?? os.userInfo().username)
  const folder = certificates ?? defaultFolder()
  if (folder !== undefined) return loadClientCreds(folder, { verifyPeer })
  const none = { ca: undefined, cert: undefined, key: undefined }
  return verifyPeer ? none : { ...none, verifyPeer }
}

/**
 * Where libnbd looks for certificates when it is told nothing.
 *
 * @returns undefined when there are none: then the server must have one of a public CA
 */
export function defaultFolder(
  uid = process.geteuid!(),
  home: string | undefined = process.env['HOME'],
  sysconf = '/etc'
): string | undefined {
  const folders =
    uid === 0 || !home
      ? [path.join(sysconf, 'pki/libnbd')]
      : ['.pki/libnbd', '.config/pki/libnbd'].map((folder) => path.join(home, folder))
  return folders.find((folder) => fs.existsSync(path.join(folder, 'ca-cert.pem')))
}
