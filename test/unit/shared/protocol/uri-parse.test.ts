import t from 'tap'
import { NBDError } from '../../../../shared/errors/nbd-error.ts'
import { formatUri, parseUri, type NBDUri } from '../../../../shared/protocol/uri.ts'

const tcp = (host: string, port = 10809, exportName = ''): NBDUri => ({
  address: { host, port },
  exportName
})
const unix = (path: string, exportName = ''): NBDUri => ({ address: { path }, exportName })

const good: Record<string, NBDUri> = {
  // The specification's table of export names.
  'nbd://example.com/disk': tcp('example.com', 10809, 'disk'),
  'nbd+unix:///disk?socket=sock': unix('sock', 'disk'),
  'nbd://example.com/': tcp('example.com'),
  'nbd://example.com': tcp('example.com'),
  'nbd://example.com//disk': tcp('example.com', 10809, '/disk'),
  'nbd://example.com/hello%20world': tcp('example.com', 10809, 'hello world'),
  'nbd+unix:///?socket=%00/abstract': unix('\0/abstract'),
  // Authorities.
  'nbd://example.com:10810/export': tcp('example.com', 10810, 'export'),
  'nbd://example.com:/export': tcp('example.com', 10809, 'export'),
  'nbd://127.0.0.1:1': tcp('127.0.0.1', 1),
  'nbd://h:65535': tcp('h', 65535),
  'nbd://[::1]:10810/x': tcp('::1', 10810, 'x'),
  'nbd://[fe80::1%25eth0]': tcp('fe80::1%eth0'),
  'nbd://': tcp('localhost'),
  'nbd:///disk': tcp('localhost', 10809, 'disk'),
  'NBD://Host': tcp('Host'),
  'Nbd+Unix:///?socket=/s': unix('/s'),
  'nbd+unix://?socket=/s': unix('/s'),
  // Names that a URL parser would change.
  'nbd://h/a/../b': tcp('h', 10809, 'a/../b'),
  'nbd://h/./a//b/': tcp('h', 10809, './a//b/'),
  'nbd://h/a+b': tcp('h', 10809, 'a+b'),
  'nbd://h/%2Fa%3F%23%25': tcp('h', 10809, '/a?#%'),
  'nbd://h/%C3%BC%F0%9F%98%80': tcp('h', 10809, 'ü😀'),
  'nbd://h/ü b': tcp('h', 10809, 'ü b'),
  [`nbd://h/${'x'.repeat(4096)}`]: tcp('h', 10809, 'x'.repeat(4096)),
  // Queries.
  'nbd+unix:///?socket=/a=b+c%26d': unix('/a=b+c&d'),
  'nbd+unix:///?&socket=/s&': unix('/s'),
  'nbd://h?': tcp('h')
}

for (const [text, expected] of Object.entries(good)) {
  void t.test(`parseUri - reads ${text.slice(0, 60)}`, async (t) => {
    t.strictSame(parseUri(text), expected)
  })
}

void t.test('formatUri - writes what parseUri reads', async (t) => {
  for (const expected of Object.values(good)) t.strictSame(parseUri(formatUri(expected)), expected)
})

const bad: Record<string, RegExp> = {
  '': /must begin with 'nbd:\/\/'/,
  'disk.img': /must begin with 'nbd:\/\/'/,
  '/dev/nbd0': /must begin with 'nbd:\/\/'/,
  '://h': /must begin with 'nbd:\/\/'/,
  'nbd:localhost:10809': /'\/\/' must follow 'nbd:'/,
  'http://h/': /scheme is 'http'/,
  'nbds://h': /'nbds' asks for TLS, which is not supported yet/,
  'nbds+unix:///?socket=s': /'nbds\+unix' asks for TLS, which is not supported yet/,
  'nbds+vsock://1': /asks for TLS/,
  'nbd+vsock://1': /'nbd\+vsock' is not supported yet/,
  'nbd+ssh://h': /'nbd\+ssh' is not supported yet/,
  'nbd://user@h': /user name is for TLS/,
  'nbd://h:0': /0 is not a port/,
  'nbd://h:65536': /65536 is not a port/,
  'nbd://h:x': /'h:x' is not HOST:PORT/,
  'nbd://h:-1': /'h:-1' is not HOST:PORT/,
  'nbd://::1': /'::1' is not HOST:PORT; an IPv6 address/,
  'nbd://[::1': /is not HOST:PORT/,
  'nbd://h/%': /'%' is not percent-encoded/,
  'nbd://h/%FF': /'%FF' is not percent-encoded UTF-8/,
  'nbd://%zz': /'%zz' is not percent-encoded/,
  'nbd://h/%00': /name contains a NUL/,
  [`nbd://h/${'x'.repeat(4097)}`]: /name is 4097 bytes long/,
  'nbd://h/disk#1': /'#' in the export's name/,
  'nbd://h?foo=1': /parameter 'foo' is unknown/,
  'nbd://h?foo': /parameter 'foo' is unknown/,
  'nbd://h?x-mine=1': /parameter 'x-mine' is unknown/,
  'nbd+unix:///?socket=s&Socket=s': /parameter 'Socket' is unknown/,
  'nbd://h?socket=s': /'socket' belongs to nbd\+unix/,
  'nbd://h?tls-type=psk': /'tls-type' is for TLS, which is not supported yet/,
  'nbd+unix:///?socket=s&tls-hostname=h': /'tls-hostname' is for TLS/,
  'nbd+unix:///?socket=s&socket=s': /'socket' is there twice/,
  'nbd+unix:///': /needs '\?socket=PATH'/,
  'nbd+unix:///?socket=': /needs '\?socket=PATH'/,
  'nbd+unix:///?socket': /needs '\?socket=PATH'/,
  'nbd+unix://h/?socket=s': /has no host 'h'/,
  'nbd+unix:///?socket=%ZZ': /'%ZZ' is not percent-encoded/
}

for (const [text, why] of Object.entries(bad)) {
  void t.test(`parseUri - refuses '${text.slice(0, 60)}'`, async (t) => {
    try {
      t.fail(`read as ${JSON.stringify(parseUri(text))}`)
    } catch (error) {
      t.ok(NBDError.is(error) && error.kind === 'config', 'kind')
      t.match((error as Error).message, why)
    }
  })
}
