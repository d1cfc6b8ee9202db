/**
 * NBD URIs.
 *
 * @see NetworkBlockDevice/nbd doc/uri.md
 */

/** `nbd://host:port/export`. The port is always named: whoever reads the line need not know the default. */
export function formatTcpUri(host: string, port: number, exportName: string): string {
  const authority = host.includes(':') ? `[${host}]` : host
  return `nbd://${authority}:${port}${path(exportName)}`
}

/** `nbd+unix:///export?socket=/path`. */
export function formatUnixUri(socket: string, exportName: string): string {
  const query = encodeURIComponent(socket).replaceAll('%2F', '/')
  return `nbd+unix://${path(exportName) || '/'}?socket=${query}`
}

/** Port assigned to NBD. */
export const NBD_DEFAULT_PORT = 10809

const path = (exportName: string): string => (exportName === '' ? '' : '/' + encodeURIComponent(exportName))
