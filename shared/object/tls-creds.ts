/**
 * `--object tls-creds-x509,id=tls0,dir=FOLDER` and `tls-creds-psk`: what a client brings to TLS, and demands of the server; or,
 * with `endpoint=server`, what a server does. What is wrong with the files is told when the object is made, and not by its first
 * connection.
 *
 * @see QEMU crypto/tlscredsx509.c, crypto/tlscredspsk.c
 */
import * as path from 'node:path'
import { boolean, oneOf, required, string, type Checked } from '../config/option-schema.ts'
import { configError } from '../errors/nbd-error.ts'
import type { TLSCreds } from '../io/tls-creds.ts'
import type { TLSParameters } from '../protocol/uri-tls.ts'
import { registerObjectType, type UserObject } from './object-type.ts'

const X509 = 'tls-creds-x509'
const PSK = 'tls-creds-psk'
/** Types of credentials. */
export const TLS_CREDS_TYPES: readonly string[] = [X509, PSK]

/** In the folder of a tls-creds-psk. @see QCRYPTO_TLS_CREDS_PSKFILE */
const PSK_FILE = 'keys.psk'
/** @see username in QEMU's TlsCredsPskProperties */
const PSK_USERNAME = 'qemu'

class TLSCredsObject implements UserObject {
  readonly type: string
  readonly id: string
  readonly #properties: Record<string, unknown>

  constructor(type: string, id: string, properties: Record<string, unknown>) {
    this.type = type
    this.id = id
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

export class TLSClientCreds extends TLSCredsObject {
  /** The same as in a URI. */
  readonly parameters: TLSParameters

  constructor(type: string, id: string, parameters: TLSParameters, properties: Record<string, unknown>) {
    super(type, id, { ...properties, endpoint: 'client' })
    this.parameters = parameters
  }
}

export class TLSServerCreds extends TLSCredsObject {
  readonly creds: TLSCreds

  constructor(type: string, id: string, creds: TLSCreds, properties: Record<string, unknown>) {
    super(type, id, { ...properties, endpoint: 'server' })
    this.creds = creds
  }
}

const common = { dir: required(string), endpoint: oneOf('client', 'server') }
const x509Options = { ...common, 'verify-peer': boolean }
const pskOptions = { ...common, username: string }

registerObjectType({
  name: X509,
  options: x509Options,
  settable: [],
  readable: [],
  create: async (id, options) => {
    const { dir, endpoint, 'verify-peer': verifyPeer = true } = options as Checked<typeof x509Options>
    const { loadClientCreds, loadServerCreds } = await import('../io/tls-creds.ts')
    const properties = { dir, 'verify-peer': verifyPeer }
    if (endpoint === 'server')
      return new TLSServerCreds(X509, id, loadServerCreds(dir, { verifyPeer }), properties)
    loadClientCreds(dir, { verifyPeer })
    return new TLSClientCreds(X509, id, { certificates: dir, verifyPeer }, properties)
  }
})

registerObjectType({
  name: PSK,
  options: pskOptions,
  settable: [],
  readable: [],
  create: async (id, options) => {
    const { dir, endpoint, username } = options as Checked<typeof pskOptions>
    const { loadClientPsk, loadServerPsk } = await import('../io/tls-psk.ts')
    const pskFile = path.join(dir, PSK_FILE)
    if (endpoint === 'server') {
      if (username !== undefined) throw configError(`${id}: 'username' is for endpoint=client`)
      return new TLSServerCreds(PSK, id, loadServerPsk(pskFile), { dir })
    }
    const user = username ?? PSK_USERNAME
    loadClientPsk(pskFile, user)
    return new TLSClientCreds(PSK, id, { pskFile, username: user }, { dir, username: user })
  }
})
