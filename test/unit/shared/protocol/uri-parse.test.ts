import t from 'tap'
import { NBDError } from '../../../../shared/errors/nbd-error.ts'
import type { TLSParameters } from '../../../../shared/protocol/uri-tls.ts'
import { formatUri, parseUri, type NBDUri } from '../../../../shared/protocol/uri.ts'

const tcp = (host: string, port = 10809, exportName = ''): NBDUri => ({
  address: { host, port },
  exportName
})
const unix = (path: string, exportName = ''): NBDUri => ({ address: { path }, exportName })
const vsock = (cid: number, port = 10809, exportName = ''): NBDUri => ({
  address: { cid, port },
  exportName
})
const secure = (uri: NBDUri, tls: TLSParameters = {}): NBDUri => ({ ...uri, tls })

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
  'nbd://h?': tcp('h'),
  // AF_VSOCK.
  'nbd+vsock://': vsock(2),
  'nbd+vsock://3/disk': vsock(3, 10809, 'disk'),
  'nbd+vsock://4294967295:4294967295': vsock(4294967295, 4294967295),
  'nbd+vsock://:1': vsock(2, 1),
  'nbds+vsock://1:10810': secure(vsock(1, 10810)),
  // TLS.
  'nbds://h': secure(tcp('h')),
  'NBDS://h/disk': secure(tcp('h', 10809, 'disk')),
  'nbds://[::1]:1?': secure(tcp('::1', 1)),
  'nbds+unix:///disk?socket=/s': secure(unix('/s', 'disk')),
  'nbds://h?tls-type=x509': secure(tcp('h'), { type: 'x509' }),
  'nbds://h?tls-hostname=other.example': secure(tcp('h'), { hostname: 'other.example' }),
  'nbds://h?tls-verify-peer=0': secure(tcp('h'), { verifyPeer: false }),
  'nbds://h?tls-verify-peer=1': secure(tcp('h'), { verifyPeer: true }),
  'nbds://h?tls-verify-peer=false': secure(tcp('h'), { verifyPeer: false }),
  'nbds://h?tls-verify-peer=Yes': secure(tcp('h'), { verifyPeer: true }),
  'nbds://h?tls-certificates=/etc/pki/a%20b': secure(tcp('h'), { certificates: '/etc/pki/a b' }),
  'nbds://alice@h/disk?tls-type=psk&tls-psk-file=/a/keys.psk': secure(tcp('h', 10809, 'disk'), {
    username: 'alice',
    type: 'psk',
    pskFile: '/a/keys.psk'
  }),
  'nbds://a%40b%3Ac@h?tls-psk-file=k': secure(tcp('h'), { username: 'a@b:c', pskFile: 'k' }),
  'nbds+unix://alice@/?socket=/s&tls-psk-file=k': secure(unix('/s'), { username: 'alice', pskFile: 'k' }),
  'nbds+vsock://alice@5?tls-psk-file=k': secure(vsock(5), { username: 'alice', pskFile: 'k' })
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
  '': /must begin with 'nbd:\/\/', 'nbds:/,
  'disk.img': /must begin with 'nbd:\/\/', 'nbds:/,
  '/dev/nbd0': /must begin with 'nbd:\/\/', 'nbds:/,
  '://h': /must begin with 'nbd:\/\/', 'nbds:/,
  'nbd:localhost:10809': /'\/\/' must follow 'nbd:'/,
  'http://h/': /scheme is 'http'/,
  'nbd+ssh://h': /'nbd\+ssh' is not supported/,
  'nbds+ssh://h': /'nbds\+ssh' is not supported/,
  'nbdx://h': /scheme is 'nbdx', not 'nbd'/,
  'nbd://user@h': /user name is for TLS: write 'nbds'/,
  'nbds://user:secret@h': /a password has no use here/,
  'nbds://@h': /user name before '@' is empty/,
  'nbds://a%00b@h': /user name contains a NUL/,
  'nbd://a%00b': /host contains a NUL/,
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
  'nbd://h?tls-type=psk': /'tls-type' is for TLS: write 'nbds:\/\/'/,
  'nbd+unix:///?socket=s&tls-hostname=h': /'tls-hostname' is for TLS: write 'nbds\+unix:/,
  'nbds://h?tls-priority=x': /parameter 'tls-priority' is unknown/,
  'nbds://h?tls-type=anon': /'tls-type=anon' is not supported/,
  'nbds://h?tls-type=PSK': /'tls-type' is x509 or psk, not 'PSK'/,
  'nbds://h?tls-type=psk': /a pre-shared key needs 'tls-psk-file'/,
  'nbds://h?tls-type=x509&tls-psk-file=k': /either by certificates or by a pre-shared key/,
  'nbds://h?tls-certificates=c&tls-psk-file=k': /either by certificates or by a pre-shared key/,
  'nbds://h?tls-type=psk&tls-certificates=c': /'tls-certificates' is not for a pre-shared key/,
  'nbds://h?tls-verify-peer=2': /'tls-verify-peer' is 0 or 1, not '2'/,
  'nbds://h?tls-verify-peer': /parameter 'tls-verify-peer' is empty/,
  'nbds://h?tls-hostname=': /parameter 'tls-hostname' is empty/,
  'nbds://h?tls-certificates=%00': /parameter 'tls-certificates' contains a NUL/,
  'nbd+vsock://host': /'host' is not a CID/,
  'nbd+vsock://4294967296': /'4294967296' is not a CID/,
  'nbd+vsock://1:4294967296': /4294967296 is not a port from 1 to 4294967295/,
  'nbd+vsock://[::1]': /is not a CID/,
  'nbd+vsock://1?socket=s': /'socket' belongs to nbd\+unix/,
  'nbd+unix:///?socket=/a%00b': /'socket' contains a NUL/,
  'nbd+unix://:1/?socket=s': /has no host/,
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
