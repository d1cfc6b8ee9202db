/**
 * `--object tls-creds-x509,id=tls0,dir=FOLDER` and `tls-creds-psk`: what a client brings to TLS, and demands of the server.
 * What is wrong with the files is told when the object is made, and not by its first connection.
 *
 * @see QEMU crypto/tlscredsx509.c, crypto/tlscredspsk.c
 */
import * as path from 'node:path'
import { boolean, oneOf, required, string, type Checked } from '../config/option-schema.ts'
import { configError } from '../errors/nbd-error.ts'
import type { TLSParameters } from '../protocol/uri-tls.ts'
import { registerObjectType, type UserObject } from './object-type.ts'

/** In the folder of a tls-creds-psk. @see QCRYPTO_TLS_CREDS_PSKFILE */
const PSK_FILE = 'keys.psk'
/** @see username in QEMU's TlsCredsPskProperties */
const PSK_USERNAME = 'qemu'

export class TLSCredsObject implements UserObject {
  readonly type: string
  readonly id: string
  /** The same as in a URI. */
  readonly parameters: TLSParameters
  readonly #properties: Record<string, unknown>

  constructor(type: string, id: string, parameters: TLSParameters, properties: Record<string, unknown>) {
    this.type = type
    this.id = id
    this.parameters = parameters
    this.#properties = properties
  }

  get(property: string): unknown {
    return this.#properties[property]
  }

  async set(): Promise<void> {
    // No property can be changed.
  }

  async close(): Promise<void> {
    // Connections that were made with it go on.
  }
}

const common = { dir: required(string), endpoint: oneOf('client', 'server') }
const x509Options = { ...common, 'verify-peer': boolean }
const pskOptions = { ...common, username: string }

registerObjectType({
  name: 'tls-creds-x509',
  options: x509Options,
  settable: [],
  readable: [],
  create: async (id, options) => {
    const { dir, endpoint, 'verify-peer': verifyPeer = true } = options as Checked<typeof x509Options>
    checkEndpoint(endpoint)
    const { loadClientCreds } = await import('../io/tls-creds.ts')
    loadClientCreds(dir, { verifyPeer })
    const properties = { dir, endpoint: 'client', 'verify-peer': verifyPeer }
    return new TLSCredsObject('tls-creds-x509', id, { certificates: dir, verifyPeer }, properties)
  }
})

registerObjectType({
  name: 'tls-creds-psk',
  options: pskOptions,
  settable: [],
  readable: [],
  create: async (id, options) => {
    const { dir, endpoint, username = PSK_USERNAME } = options as Checked<typeof pskOptions>
    checkEndpoint(endpoint)
    const { loadClientPsk } = await import('../io/tls-psk.ts')
    const pskFile = path.join(dir, PSK_FILE)
    loadClientPsk(pskFile, username)
    return new TLSCredsObject(
      'tls-creds-psk',
      id,
      { pskFile, username },
      { dir, endpoint: 'client', username }
    )
  }
})

/** @throws NBDError of kind `config` */
function checkEndpoint(endpoint: string | undefined): void {
  if (endpoint === 'server')
    throw configError(
      "endpoint=server is not known: a server's own credentials are given by --tls-creds FOLDER or --tls-psk FILE"
    )
}
