import t from 'tap'
import { formatTcpUri, formatUnixUri, NBD_DEFAULT_PORT } from '../../../../shared/protocol/uri.ts'

void t.test('TCP URI - names host, port and export', async (t) => {
  t.equal(NBD_DEFAULT_PORT, 10809)
  t.equal(formatTcpUri('localhost', 10809, ''), 'nbd://localhost:10809')
  t.equal(formatTcpUri('192.0.2.1', 1, 'disk'), 'nbd://192.0.2.1:1/disk')
  t.equal(formatTcpUri('::1', 65535, 'disk'), 'nbd://[::1]:65535/disk')
})

void t.test('Unix URI - names socket and export', async (t) => {
  t.equal(formatUnixUri('/tmp/s', ''), 'nbd+unix:///?socket=/tmp/s')
  t.equal(formatUnixUri('/tmp/s', 'disk'), 'nbd+unix:///disk?socket=/tmp/s')
})

const awkward = ['a b', 'a/b', '/a', 'a?b=c&d', 'a#b', '100%', 'dïsk', '\u{1f4be}', 'a+b', 'a\nb', ';', '@:']

void t.test('URI - what has a meaning in URIs is escaped, so that a parser gets it back', async (t) => {
  for (const name of awkward) {
    const tcp = new URL(formatTcpUri('host', 1, name).replace('nbd:', 'http:'))
    t.equal(decodeURIComponent(tcp.pathname.slice(1)), name)
    t.equal(tcp.search + tcp.hash, '')
    const unix = new URL(formatUnixUri('/tmp/' + name, name).replace('nbd+unix://', 'http://h'))
    t.equal(decodeURIComponent(unix.pathname.slice(1)), name)
    t.equal(decodeURIComponent(unix.search.replace('?socket=', '')), '/tmp/' + name)
    t.notMatch(formatUnixUri('/tmp/' + name, name), /\s/)
  }
})
