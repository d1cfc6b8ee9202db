import t from 'tap'
import { Coroutine } from '../../../../shared/coroutine/coroutine.ts'
import { QIOChannelPair } from '../../../../shared/io/channel-pair.ts'
import { QIOChannelWebsock } from '../../../../shared/io/channel-websock.ts'
import { within } from '../../../helpers/wait-for.ts'
import { receive, send } from './channel-bytes.ts'
import { AGREES, binary, changed, head, KEY, masked, receiveHead, REQUEST } from './websock-ends.ts'

void t.test('websock handshake: the server answers as the specification says', async (t) => {
  const [master, peer] = QIOChannelPair.create()
  const accepted = Coroutine.start(() => QIOChannelWebsock.accept(master, { path: '/nbd' }))
  // Byte by byte, and the first frame comes with the end of it.
  const request = head(changed(REQUEST, 'GET / ', 'GET /nbd '))
  for (const byte of request.slice(0, -1)) await send(peer, byte)
  await send(peer, Buffer.concat([Buffer.from(request.slice(-1)), masked(binary, 'first')]))
  const server = await within('the handshake', accepted)
  t.equal(await receiveHead(peer), head(AGREES))
  t.equal((await receive(server, 5)).toString(), 'first')
})

void t.test('websock handshake: the server refuses everything else', async (t) => {
  for (const [what, lines, status, message] of [
    ['not HTTP', ['NBDMAGIC'], 400, /not HTTP/],
    ['HTTP/1.0', changed(REQUEST, 'HTTP/1.1', 'HTTP/1.0'), 400, /not HTTP/],
    ['POST', changed(REQUEST, 'GET', 'POST'), 405, /method/],
    ['another path', changed(REQUEST, 'GET / ', 'GET /other '), 404, /path is not \/$/],
    ['no host', changed(REQUEST, /^Host.*/, ''), 400, /host/],
    ['no upgrade', changed(REQUEST, /^Upgrade.*/, ''), 426, /not asked for/],
    ['connection', changed(REQUEST, 'keep-alive, Upgrade', 'close'), 426, /not asked for/],
    ['version 8', changed(REQUEST, 'Version: 13', 'Version: 8'), 426, /version is not 13/],
    ['short key', changed(REQUEST, KEY, 'abc='), 400, /key/],
    ['two keys', [...REQUEST, `Sec-WebSocket-Key: ${KEY}`], 400, /key/],
    ['protocol', changed(REQUEST, 'binary', 'base64'), 400, /protocol 'binary'/],
    ['a line without colon', [...REQUEST, 'nonsense'], 400, /not HTTP/],
    ['a folded line', [...REQUEST, ' folded'], 400, /not HTTP/],
    ['a control character', [...REQUEST, 'X: \x07'], 400, /not HTTP/],
    ['many headers', [...REQUEST, ...Array<string>(64).fill('X: y')], 400, /not HTTP/],
    ['a long header', [...REQUEST, `X: ${'y'.repeat(8192)}`], 431, /longer than 8192 bytes/]
  ] as const) {
    const [master, peer] = QIOChannelPair.create()
    const accepted = Coroutine.start(() => QIOChannelWebsock.accept(master))
    await Promise.all([
      t.rejects(within(what, accepted), { kind: 'transport', message }, what),
      send(peer, head([...lines]))
    ])
    t.match(await receiveHead(peer), new RegExp(`^HTTP/1.1 ${status} `), what)
  }
})

void t.test('websock handshake: the client refuses a server that does not agree', async (t) => {
  for (const [what, lines, message] of [
    ['not HTTP', ['NBDMAGIC'], /speak HTTP/],
    ['refused', changed(AGREES, '101', '404'), /status 404/],
    ['upgrade', changed(AGREES, 'websocket', 'h2c'), /something else/],
    ['connection', changed(AGREES, 'Connection: Upgrade', 'Connection: close'), /something else/],
    // Not the key that this client has sent.
    ['another key', AGREES, /another key/],
    ['a long reply', [...AGREES, `X: ${'y'.repeat(8192)}`], /longer than 8192/]
  ] as const) {
    const [master, peer] = QIOChannelPair.create()
    const connected = Coroutine.start(() => QIOChannelWebsock.connect(master, 'localhost'))
    await Promise.all([
      t.rejects(within(what, connected), { kind: 'transport', message }, what),
      send(peer, head([...lines]))
    ])
  }
  const [master, peer] = QIOChannelPair.create()
  const connected = Coroutine.start(() => QIOChannelWebsock.connect(master, 'localhost'))
  await peer.close()
  await t.rejects(within('the end', connected), {
    kind: 'transport',
    message: /closed the connection|reads no more/
  })
  for (const [host, path] of [
    ['local host', '/'],
    ['localhost', 'nbd'],
    ['localhost', '/ HTTP/1.1\r\nX: y']
  ] as const) {
    await t.rejects(
      Coroutine.start(() => QIOChannelWebsock.connect(master, host, { path })),
      { kind: 'config', message: /printable/ }
    )
  }
})
