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
import { formatUri, NBD_DEFAULT_PORT, parseUri, type NBDAddress } from '../../shared/protocol/uri.ts'

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
  cache: object({ 'no-flush': boolean })
} satisfies OptionMembers

/** @throws NBDError of kind `config` */
export function parseNbdFilename(filename: string): NbdOptions {
  const { address, exportName, tls } = parseUri(filename)
  if (tls) throw configError(`cannot open '${filename}': a connection with TLS cannot be shared by threads`)
  return { driver: 'nbd', server: serverAddress(filename, address), export: exportName }
}

function serverAddress(filename: string, address: NBDAddress): NbdServerAddress {
  if ('path' in address) return { type: 'unix', path: address.path }
  if ('cid' in address) throw configError(`cannot open '${filename}': vsock is not supported`)
  return { type: 'inet', ...address }
}

/** The URI of what the options name. @throws NBDError of kind `config` */
export function uriOf({ server, export: exportName = '' }: NbdOptions): string {
  const problem = stringProblem(exportName)
  if (problem !== undefined) throw configError(`export ${problem}`)
  return formatUri({ address: addressOf(server), exportName })
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
