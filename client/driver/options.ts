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
import { TLSCredsObject } from '../../shared/object/tls-creds.ts'
import { NBD_DEFAULT_PORT, parseUri, type NBDAddress, type NBDUri } from '../../shared/protocol/uri.ts'
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
  type: 'inet' | 'unix'
  /** For `inet`. */
  host?: string
  /** For `inet`; 10809 if not given. */
  port?: number
  /** For `unix`; a name in the abstract namespace begins with a NUL. */
  path?: string
}

/** As long as a timer of Node's can be. */
const MAX_SECONDS = 2 ** 21

export const nbdOptions = {
  server: required(
    object({
      type: required(oneOf('inet', 'unix')),
      host: string,
      port: integer(1, 65535),
      path: string
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
  const options = { driver: 'nbd', server: serverAddress(filename, address), export: exportName } as const
  return tls ? { ...options, tls } : options
}

function serverAddress(filename: string, address: NBDAddress): NbdServerAddress {
  if ('path' in address) return { type: 'unix', path: address.path }
  if ('cid' in address) throw configError(`cannot open '${filename}': vsock is not supported`)
  return { type: 'inet', ...address }
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
  if (!(creds instanceof TLSCredsObject))
    throw configError(
      `tls-creds: '${creds.id}' is an object of type ${creds.type}, not tls-creds-x509 or -psk`
    )
  return { ...creds.parameters, ...(hostname === undefined ? {} : { hostname }) }
}

function addressOf({ type, host, port, path }: NbdServerAddress): NBDAddress {
  if (type === 'unix') {
    if (path === undefined) throw configError("server: 'path' is missing")
    if (host !== undefined || port !== undefined)
      throw configError("server: type=unix has no 'host' and 'port'")
    return { path }
  }
  if (host === undefined) throw configError("server: 'host' is missing")
  if (path !== undefined) throw configError("server: type=inet has no 'path'")
  return { host, port: port ?? NBD_DEFAULT_PORT }
}
