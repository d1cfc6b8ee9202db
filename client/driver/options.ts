/** Options of the `nbd` driver, by QEMU's names, and NBD URIs as names of images. */
import {
  boolean,
  integer,
  object,
  oneOf,
  required,
  string,
  text,
  type OptionMembers
} from '../../shared/config/option-schema.ts'
import { configError } from '../../shared/errors/nbd-error.ts'
import type { NodeOptions } from '../../shared/block/driver-registry.ts'
import { stringProblem } from '../../shared/protocol/string.ts'
import type { UserObject } from '../../shared/object/object-type.ts'
import { TLS_CREDS_TYPES, TLSClientCreds } from '../../shared/object/tls-creds.ts'
import {
  MAX_TCP_PORT,
  MAX_VSOCK_PORT,
  NBD_DEFAULT_PORT,
  parseUri,
  type NBDAddress,
  type NBDUri
} from '../../shared/protocol/uri.ts'
import type { TLSParameters } from '../../shared/protocol/uri-tls.ts'

/** @see BlockdevOptionsNbd in QEMU's qapi/block-core.json */
export interface NbdOptions extends NodeOptions {
  driver: 'nbd'
  server: NbdServerAddress
  /** Absent: the default export. */
  export?: string
  /** Seconds in which requests wait for a lost connection to be made again; absent or 0: they fail. */
  'reconnect-delay'?: number
  /** Seconds in which opening is tried again while there is no server; absent or 0: once. */
  'open-timeout'?: number
  /** Requires TLS: what it is made with. */
  tls?: TLSParameters
  /** The same by an object that a user has made. */
  'tls-creds'?: UserObject
  /** With `tls-creds`: that the server's certificate must be for, in place of the host. */
  'tls-hostname'?: string
  cache?: {
    /** Flushes do nothing. */
    'no-flush'?: boolean
  }
}

/** @see SocketAddress in QEMU's qapi/sockets.json */
export interface NbdServerAddress {
  type: 'inet' | 'unix' | 'vsock'
  /** For `inet`. */
  host?: string
  /** For `inet` and `vsock`; 10809 if not given. */
  port?: number
  /** For `unix`; a name in the abstract namespace begins with a NUL. */
  path?: string
  /** For `vsock`: a virtual machine's number; 2 for the host. */
  cid?: number
}

/** As long as a timer of Node's can be. */
const MAX_SECONDS = 2 ** 21

export const nbdOptions = {
  server: required(
    object({
      type: required(oneOf('inet', 'unix', 'vsock')),
      host: string,
      port: integer(1, MAX_VSOCK_PORT),
      path: string,
      cid: integer(0, MAX_VSOCK_PORT)
    })
  ),
  export: text,
  'reconnect-delay': integer(0, MAX_SECONDS),
  'open-timeout': integer(0, MAX_SECONDS),
  'tls-creds': string,
  'tls-hostname': string,
  cache: object({ 'no-flush': boolean })
} satisfies OptionMembers

/** @throws NBDError of kind `config` */
export function parseNbdFilename(filename: string): NbdOptions {
  const { address, exportName, tls } = parseUri(filename)
  const options = { driver: 'nbd', server: serverAddress(address), export: exportName } as const
  return tls ? { ...options, tls } : options
}

function serverAddress(address: NBDAddress): NbdServerAddress {
  if ('path' in address) return { type: 'unix', path: address.path }
  return { type: 'cid' in address ? 'vsock' : 'inet', ...address }
}

/** What the options name. @throws NBDError of kind `config` */
export function uriOf(options: NbdOptions): NBDUri {
  const { server, export: exportName = '' } = options
  const problem = stringProblem(exportName)
  if (problem !== undefined) throw configError(`export ${problem}`)
  const tls = tlsOf(options)
  return { address: addressOf(server), exportName, ...(tls ? { tls } : {}) }
}

function tlsOf({ tls, 'tls-creds': creds, 'tls-hostname': hostname }: NbdOptions): TLSParameters | undefined {
  if (creds === undefined) {
    if (hostname !== undefined) throw configError("tls-hostname: 'tls-creds' is missing")
    return tls
  }
  if (!(creds instanceof TLSClientCreds)) {
    if (TLS_CREDS_TYPES.includes(creds.type))
      throw configError(`tls-creds: '${creds.id}' is for a server: a client needs endpoint=client`)
    throw configError(
      `tls-creds: '${creds.id}' is an object of type ${creds.type}, not ${TLS_CREDS_TYPES.join(' or ')}`
    )
  }
  return { ...creds.parameters, ...(hostname === undefined ? {} : { hostname }) }
}

/** What each type of address has. */
const members = { inet: ['host', 'port'], unix: ['path'], vsock: ['cid', 'port'] } as const

function addressOf(server: NbdServerAddress): NBDAddress {
  const { type, port = NBD_DEFAULT_PORT } = server
  const known: readonly string[] = ['type', ...members[type]]
  for (const [name, value] of Object.entries(server)) {
    if (value !== undefined && !known.includes(name))
      throw configError(`server: type=${type} has no '${name}'`)
  }
  if (type === 'unix') return { path: given(server, 'path') }
  if (type === 'vsock') return { cid: given(server, 'cid'), port }
  const host = given(server, 'host')
  if (port <= MAX_TCP_PORT) return { host, port }
  throw configError(`server.port: '${port}' is not a number from 1 to ${MAX_TCP_PORT}`)
}

function given<K extends keyof NbdServerAddress>(
  server: NbdServerAddress,
  name: K
): NonNullable<NbdServerAddress[K]> {
  const value = server[name]
  if (value === undefined) throw configError(`server: '${name}' is missing`)
  return value
}
