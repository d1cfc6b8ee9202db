/**
 * NBD URIs.
 *
 *   nbd://HOST:PORT/EXPORT                 TCP; HOST defaults to localhost, PORT to 10809
 *   nbd+unix:///EXPORT?socket=PATH         Unix socket; PATH begins with %00 for one in the abstract namespace
 *   nbd+vsock://CID:PORT/EXPORT            AF_VSOCK; CID defaults to 2, the host
 *   nbds://..., nbds+unix://..., ...       the same, and TLS is required: see `TLSParameters`
 *
 * EXPORT is all of the path behind its first slash, percent-decoded: `nbd://host//disk` names the export '/disk'.
 *
 * @see NetworkBlockDevice/nbd doc/uri.md; RFC 3986
 */
import { configError } from '../errors/nbd-error.ts'
import { stringProblem } from './string.ts'
import { formatTls, isTlsParameter, parseTls, type TLSParameters } from './uri-tls.ts'

/** On a Unix socket; a path that begins with a NUL is a name in the abstract namespace. */
export interface UnixAddress {
  path: string
}

/** Where a virtual machine, or its host, listens. @see vsock(7) */
export interface VsockAddress {
  cid: number
  port: number
}

/** Where a server listens. */
export type NBDAddress = { host: string; port: number } | UnixAddress | VsockAddress

export interface NBDUri {
  address: NBDAddress
  /** Empty for the default export. */
  exportName: string
  /** Absent when nothing asks for TLS. */
  tls?: TLSParameters
}

/**
 * `nbd://host:port/export`, or with `nbds` when TLS is required. The port is always named: whoever reads the line need
 * not know the default.
 */
export const formatTcpUri = (host: string, port: number, exportName: string, tls = false): string =>
  formatUri({ address: { host, port }, exportName, ...(tls ? { tls: {} } : {}) })

/** `nbd+unix:///export?socket=/path`, or with `nbds`. */
export const formatUnixUri = (socket: string, exportName: string, tls = false): string =>
  formatUri({ address: { path: socket }, exportName, ...(tls ? { tls: {} } : {}) })

/** Whether a text means an NBD URI, right or wrong, and no file: a file of such a name is written `./nbd:file`. */
export const isNbdUri = (text: string): boolean => /^nbds?(\+[a-z]+)?:/i.test(text)

/** Port assigned to NBD. */
export const NBD_DEFAULT_PORT = 10809

/** The host, for its virtual machines. @see VMADDR_CID_HOST */
const CID_HOST = 2

/** The URI of an export, as `parseUri` reads it. */
export function formatUri({ address, exportName, tls }: NBDUri): string {
  const user = tls?.username === undefined ? '' : `${encodeURIComponent(tls.username)}@`
  const query = [
    ...('path' in address ? [['socket', address.path] as const] : []),
    ...(tls === undefined ? [] : formatTls(tls))
  ].map(([name, value]) => `${name}=${encodeURIComponent(value).replaceAll('%2F', '/')}`)
  // A path stands between a Unix socket's empty authority and its query.
  const path = exportName === '' ? ('path' in address ? '/' : '') : `/${encodeURIComponent(exportName)}`
  const parameters = query.length === 0 ? '' : `?${query.join('&')}`
  return `nbd${tls ? 's' : ''}${suffix(address)}://${user}${authority(address)}${path}${parameters}`
}

const suffix = (address: NBDAddress): string =>
  'path' in address ? '+unix' : 'cid' in address ? '+vsock' : ''

function authority(address: NBDAddress): string {
  if ('path' in address) return ''
  if ('cid' in address) return `${address.cid}:${address.port}`
  const { host, port } = address
  // The zone of a link-local address stands behind a '%'.
  return `${host.includes(':') ? `[${host.replaceAll('%', '%25')}]` : encodeURIComponent(host)}:${port}`
}

/** Scheme, authority, path, query, fragment: RFC 3986, appendix B, with the scheme required. */
const URI = /^([a-z][a-z0-9+.-]*):(?:\/\/([^/?#]*))?([^?#]*)(?:\?([^#]*))?(#.*)?$/is
/** Userinfo, host (an IPv6 address in brackets), port. */
const AUTHORITY = /^(?:([^@]*)@)?(\[[^\]]*\]|[^:[\]@]*)(?::(\d*))?$/

const schemes = new Map(
  (['', '+unix', '+vsock'] as const).flatMap((transport) => [
    [`nbd${transport}`, { transport, secure: false }],
    [`nbds${transport}`, { transport, secure: true }]
  ])
)

export const MAX_TCP_PORT = 65535
/** Also of a CID. */
export const MAX_VSOCK_PORT = 0xffffffff

/**
 * Reads an NBD URI.
 *
 * @throws NBDError of kind `config` that says what is wrong with it, or not supported
 */
export function parseUri(text: string): NBDUri {
  const match = URI.exec(text)
  if (!match) throw problem(text, "it must begin with 'nbd://', 'nbds://', 'nbd+unix://' ...")
  const [, scheme = '', authority, path = '', query, fragment] = match
  const { transport, secure } = parseScheme(text, scheme.toLowerCase())
  if (authority === undefined) throw problem(text, `'//' must follow '${scheme}:'`)
  if (fragment !== undefined) throw problem(text, "a '#' in the export's name is written %23")
  const exportName = decode(text, path.slice(1))
  const nameProblem = stringProblem(exportName)
  if (nameProblem !== undefined) throw problem(text, `the export's name ${nameProblem}`)
  const place = parseAuthority(text, authority)
  const parameters = parseQuery(text, query)
  checkParameters(text, parameters, transport, secure)
  if (!secure && place.user !== undefined) throw problem(text, "a user name is for TLS: write 'nbds'")
  const address =
    transport === '+unix'
      ? unixAddress(text, place, parameters)
      : transport === '+vsock'
        ? vsockAddress(text, place)
        : tcpAddress(text, place)
  if (!secure) return { address, exportName }
  const tls = parseTls(parameters, place.user, (why) => {
    throw problem(text, why)
  })
  return { address, exportName, tls }
}

const problem = (uri: string, why: string): Error =>
  configError(`'${uri}' cannot be used as an NBD URI: ${why}`)

function parseScheme(uri: string, scheme: string): { transport: '' | '+unix' | '+vsock'; secure: boolean } {
  const known = schemes.get(scheme)
  if (known) return known
  const similar = /^nbds?\+/.test(scheme)
  throw problem(uri, similar ? `'${scheme}' is not supported` : `its scheme is '${scheme}', not 'nbd'`)
}

function decode(uri: string, encoded: string): string {
  try {
    return decodeURIComponent(encoded)
  } catch {
    throw problem(uri, `'${encoded}' is not percent-encoded UTF-8`)
  }
}

/** What an authority consists of; `host` as it is written. */
interface Authority {
  user: string | undefined
  host: string
  port: string | undefined
}

function parseAuthority(uri: string, authority: string): Authority {
  const match = AUTHORITY.exec(authority)
  if (!match) throw problem(uri, `'${authority}' is not HOST:PORT; an IPv6 address is written in brackets`)
  const [, userinfo, host = '', port] = match
  if (userinfo?.includes(':')) throw problem(uri, 'a password has no use here')
  const user = userinfo === undefined ? undefined : decode(uri, userinfo)
  if (user === '') throw problem(uri, "the user name before '@' is empty")
  if (user?.includes('\0')) throw problem(uri, 'the user name contains a NUL')
  return { user, host, port: port === '' ? undefined : port }
}

/** A parameter without `=` has the empty value. `+` stands for itself, as RFC 3986 has it. */
function parseQuery(uri: string, query: string | undefined): Map<string, string> {
  const parameters = new Map<string, string>()
  for (const part of (query ?? '').split('&')) {
    if (part === '') continue
    const [name, ...value] = part.split('=').map((piece) => decode(uri, piece))
    if (parameters.has(name!)) throw problem(uri, `the parameter '${name!}' is there twice`)
    parameters.set(name!, value.join('='))
  }
  return parameters
}

/** R40: a parameter that is not understood is said to be so; and nobody is to believe in TLS that is not there. */
function checkParameters(
  uri: string,
  parameters: Map<string, string>,
  transport: string,
  secure: boolean
): void {
  for (const name of parameters.keys()) {
    if (isTlsParameter(name)) {
      if (!secure) throw problem(uri, `the parameter '${name}' is for TLS: write 'nbds${transport}://'`)
    } else if (name !== 'socket') {
      throw problem(uri, `the parameter '${name}' is unknown`)
    } else if (transport !== '+unix') {
      throw problem(uri, "the parameter 'socket' belongs to nbd+unix")
    }
  }
}

function unixAddress(uri: string, { host, port }: Authority, parameters: Map<string, string>): UnixAddress {
  if (host !== '' || port !== undefined)
    throw problem(uri, `a Unix socket has no host '${host}': write 'nbd+unix:///'`)
  const path = parameters.get('socket')
  if (!path) throw problem(uri, "nbd+unix needs '?socket=PATH'")
  if (path.includes('\0', 1)) throw problem(uri, "the parameter 'socket' contains a NUL")
  return { path }
}

function vsockAddress(uri: string, { host, port }: Authority): VsockAddress {
  const cid = host === '' ? CID_HOST : /^\d+$/.test(host) ? Number(host) : NaN
  if (!(cid <= MAX_VSOCK_PORT)) throw problem(uri, `'${host}' is not a CID, the number of a virtual machine`)
  return { cid, port: parsePort(uri, port, MAX_VSOCK_PORT) }
}

function tcpAddress(uri: string, { host, port }: Authority): { host: string; port: number } {
  const bare = host.startsWith('[') ? host.slice(1, -1) : host
  const name = decode(uri, bare) || 'localhost'
  if (name.includes('\0')) throw problem(uri, 'the host contains a NUL')
  return { host: name, port: parsePort(uri, port, MAX_TCP_PORT) }
}

function parsePort(uri: string, port: string | undefined, max: number): number {
  const number = port === undefined ? NBD_DEFAULT_PORT : Number(port)
  if (number < 1 || number > max) throw problem(uri, `${port} is not a port from 1 to ${max}`)
  return number
}
