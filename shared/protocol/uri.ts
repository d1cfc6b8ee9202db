/**
 * NBD URIs.
 *
 *   nbd://HOST:PORT/EXPORT                 TCP; HOST defaults to localhost, PORT to 10809
 *   nbd+unix:///EXPORT?socket=PATH         Unix socket; PATH begins with %00 for one in the abstract namespace
 *   nbds://..., nbds+unix://...            the same with TLS
 *
 * EXPORT is all of the path behind its first slash, percent-decoded: `nbd://host//disk` names the export '/disk'.
 *
 * @see NetworkBlockDevice/nbd doc/uri.md; RFC 3986
 */
import { configError } from '../errors/nbd-error.ts'
import { stringProblem } from './string.ts'

/** Where a server listens. */
export type NBDAddress = { host: string; port: number } | { path: string }

export interface NBDUri {
  address: NBDAddress
  /** Empty for the default export. */
  exportName: string
}

/**
 * `nbd://host:port/export`, or with `nbds` when TLS is required. The port is always named: whoever reads the line need
 * not know the default.
 */
export function formatTcpUri(host: string, port: number, exportName: string, tls = false): string {
  // The zone of a link-local address stands behind a '%'.
  const authority = host.includes(':') ? `[${host.replaceAll('%', '%25')}]` : encodeURIComponent(host)
  return `${scheme(tls)}://${authority}:${port}${path(exportName)}`
}

/** `nbd+unix:///export?socket=/path`, or with `nbds`. */
export function formatUnixUri(socket: string, exportName: string, tls = false): string {
  const query = encodeURIComponent(socket).replaceAll('%2F', '/')
  return `${scheme(tls)}+unix://${path(exportName) || '/'}?socket=${query}`
}

/** Port assigned to NBD. */
export const NBD_DEFAULT_PORT = 10809

const scheme = (tls: boolean): string => (tls ? 'nbds' : 'nbd')

const path = (exportName: string): string => (exportName === '' ? '' : '/' + encodeURIComponent(exportName))

/** The URI of an export, as `parseUri` reads it. */
export const formatUri = ({ address, exportName }: NBDUri): string =>
  'path' in address
    ? formatUnixUri(address.path, exportName)
    : formatTcpUri(address.host, address.port, exportName)

/** Scheme, authority, path, query, fragment: RFC 3986, appendix B, with the scheme required. */
const URI = /^([a-z][a-z0-9+.-]*):(?:\/\/([^/?#]*))?([^?#]*)(?:\?([^#]*))?(#.*)?$/is
/** Userinfo, host (an IPv6 address in brackets), port. */
const AUTHORITY = /^(?:([^@]*)@)?(\[[^\]]*\]|[^:[\]@]*)(?::(\d*))?$/

const MAX_PORT = 65535
/** Parameters that the specification gives a meaning for TLS. */
const TLS_PARAMETERS = new Set([
  'tls-type',
  'tls-hostname',
  'tls-verify-peer',
  'tls-certificates',
  'tls-psk-file'
])

/**
 * Reads an NBD URI.
 *
 * @throws NBDError of kind `config` that says what is wrong with it, or not supported yet
 */
export function parseUri(text: string): NBDUri {
  const match = URI.exec(text)
  if (!match) throw problem(text, "it must begin with 'nbd://' or 'nbd+unix://'")
  const [, scheme = '', authority, path = '', query, fragment] = match
  const unix = isUnix(text, scheme.toLowerCase())
  if (authority === undefined) throw problem(text, `'//' must follow '${scheme}:'`)
  if (fragment !== undefined) throw problem(text, "a '#' in the export's name is written %23")
  const exportName = decode(text, path.slice(1))
  const nameProblem = stringProblem(exportName)
  if (nameProblem !== undefined) throw problem(text, `the export's name ${nameProblem}`)
  const parameters = parseQuery(text, query)
  checkParameters(text, parameters, unix)
  return {
    address: unix ? unixAddress(text, authority, parameters) : tcpAddress(text, authority),
    exportName
  }
}

const problem = (uri: string, why: string): Error =>
  configError(`'${uri}' cannot be used as an NBD URI: ${why}`)

function isUnix(uri: string, scheme: string): boolean {
  if (scheme === 'nbd' || scheme === 'nbd+unix') return scheme === 'nbd+unix'
  if (scheme.startsWith('nbds')) throw problem(uri, `'${scheme}' asks for TLS, which is not supported yet`)
  if (scheme.startsWith('nbd+')) throw problem(uri, `'${scheme}' is not supported yet`)
  throw problem(uri, `its scheme is '${scheme}', not 'nbd' or 'nbd+unix'`)
}

function decode(uri: string, encoded: string): string {
  try {
    return decodeURIComponent(encoded)
  } catch {
    throw problem(uri, `'${encoded}' is not percent-encoded UTF-8`)
  }
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

/** R40: a parameter that is not understood is said to be so. */
function checkParameters(uri: string, parameters: Map<string, string>, unix: boolean): void {
  for (const name of parameters.keys()) {
    if (TLS_PARAMETERS.has(name)) throw problem(uri, `'${name}' is for TLS, which is not supported yet`)
    if (name !== 'socket') throw problem(uri, `the parameter '${name}' is unknown`)
    if (!unix) throw problem(uri, "the parameter 'socket' belongs to nbd+unix")
  }
}

function unixAddress(uri: string, authority: string, parameters: Map<string, string>): NBDAddress {
  if (authority !== '') throw problem(uri, `a Unix socket has no host '${authority}': write 'nbd+unix:///'`)
  const path = parameters.get('socket')
  if (!path) throw problem(uri, "nbd+unix needs '?socket=PATH'")
  return { path }
}

function tcpAddress(uri: string, authority: string): NBDAddress {
  const match = AUTHORITY.exec(authority)
  if (!match) throw problem(uri, `'${authority}' is not HOST:PORT; an IPv6 address is written in brackets`)
  const [, user, host = '', port] = match
  if (user !== undefined) throw problem(uri, 'a user name is for TLS, which is not supported yet')
  const number = port ? Number(port) : NBD_DEFAULT_PORT
  if (number < 1 || number > MAX_PORT) throw problem(uri, `${port} is not a port from 1 to ${MAX_PORT}`)
  const bare = host.startsWith('[') ? host.slice(1, -1) : host
  return { host: decode(uri, bare) || 'localhost', port: number }
}
