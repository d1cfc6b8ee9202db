/** What NBD URIs say about TLS. @see NetworkBlockDevice/nbd doc/uri.md, "query parameters related to TLS"; nbd_connect_uri(3) */

/** How the ends of a TLS connection prove who they are. */
export type TLSType = 'x509' | 'psk'

/** What is absent has a default. */
export interface TLSParameters {
  type?: TLSType
  /** Whose pre-shared key is used. */
  username?: string
  /** That the server's certificate must be for, in place of the host that is connected to. */
  hostname?: string
  /** Whether the server's certificate is verified at all. */
  verifyPeer?: boolean
  /** Folder with ca-cert.pem, and client-cert.pem and client-key.pem when the server asks for them. */
  certificates?: string
  /** File with `USERNAME:KEY` in each line, the key in hexadecimal digits. */
  pskFile?: string
}

const names = {
  'tls-type': 'type',
  'tls-hostname': 'hostname',
  'tls-verify-peer': 'verifyPeer',
  'tls-certificates': 'certificates',
  'tls-psk-file': 'pskFile'
} as const satisfies Record<string, keyof TLSParameters>

/** Whether a parameter of a query is one of these. */
export const isTlsParameter = (name: string): name is keyof typeof names => Object.hasOwn(names, name)

/** The specification has 0 and 1; libnbd takes these, too. */
const booleans = new Map([
  ...['1', 'true', 't', 'yes', 'y', 'on'].map((text) => [text, true] as const),
  ...['0', 'false', 'f', 'no', 'n', 'off'].map((text) => [text, false] as const)
])

/**
 * Reads the parameters of a query that are for TLS.
 *
 * @param fail called with what is wrong, to throw it
 */
export function parseTls(
  parameters: ReadonlyMap<string, string>,
  username: string | undefined,
  fail: (why: string) => never
): TLSParameters {
  const tls: TLSParameters = username === undefined ? {} : { username }
  for (const [name, value] of parameters) {
    if (!isTlsParameter(name)) continue
    if (value === '') fail(`the parameter '${name}' is empty`)
    const key = names[name]
    if (key === 'type') tls.type = parseType(value, fail)
    else if (key === 'verifyPeer') {
      const on = booleans.get(value.toLowerCase())
      if (on === undefined) fail(`'${name}' is 0 or 1, not '${value}'`)
      else tls.verifyPeer = on
    } else {
      if (value.includes('\0')) fail(`the parameter '${name}' contains a NUL`)
      tls[key] = value
    }
  }
  const problem = tlsProblem(tls)
  if (problem !== undefined) fail(problem)
  return tls
}

function parseType(value: string, fail: (why: string) => never): TLSType {
  if (value === 'x509' || value === 'psk') return value
  if (value === 'anon') fail("'tls-type=anon' is not supported: whoever sits between could read along")
  return fail(`'tls-type' is x509 or psk, not '${value}'`)
}

/** What contradicts itself in them. */
export function tlsProblem({ type, certificates, pskFile }: TLSParameters): string | undefined {
  if (pskFile !== undefined && (type === 'x509' || certificates !== undefined))
    return 'TLS is either by certificates or by a pre-shared key'
  if (certificates !== undefined && type === 'psk') return "'tls-certificates' is not for a pre-shared key"
  if (type === 'psk' && pskFile === undefined) return "a pre-shared key needs 'tls-psk-file'"
  return undefined
}

/** The parameters of a query that `parseTls` reads; the user name has its place elsewhere. */
export function formatTls(tls: TLSParameters): [name: string, value: string][] {
  return Object.entries(names).flatMap(([name, key]): [string, string][] => {
    const value = tls[key]
    if (value === undefined) return []
    return [[name, typeof value === 'boolean' ? (value ? '1' : '0') : value]]
  })
}
