import * as net from 'node:net'
import * as tls from 'node:tls'
import t, { type Test } from 'tap'
import type { TLSCreds } from '../../../../shared/io/tls-creds.ts'
import { PSK_CIPHERS } from '../../../../shared/io/tls-psk-ciphers.ts'
import { Memory } from '../../../../shared/syscall/memory.ts'
import { PairMaker } from '../../../helpers/raw-pair.ts'
import { handshakes, tlsClient, tlsServer } from '../../../helpers/tls-pair.ts'
import { within } from '../../../helpers/wait-for.ts'
import { receive, run, whole } from './channel-bytes.ts'
import { creds, firstBytes, foreignCreds, needs, nodeClient } from './tls-ends.ts'

void t.test('handshake - what is wrong with the peer is told in words', needs, async (t) => {
  const { server, client } = creds()
  const foreign = foreignCreds()
  const stranger = { ...foreign.client, ca: client.ca }
  const anonymous = { ...client, cert: undefined, key: undefined }
  const done = /^done$/
  const any = /./
  const cases: [what: string, TLSCreds, TLSCreds, hostname: string, server: RegExp, client: RegExp][] = [
    [
      'wrong CA',
      foreign.server,
      client,
      'localhost',
      any,
      /the server's certificate was not signed by ca-cert/
    ],
    [
      'wrong name',
      server,
      client,
      'a.example',
      any,
      /server's certificate is for another: .*a\.example.*localhost/
    ],
    ['wrong address', server, client, '127.0.0.2', any, /certificate is for another: .*127\.0\.0\.2/],
    ['right address', server, client, '127.0.0.1', done, done],
    ['a stranger', server, stranger, 'localhost', /the client's certificate was not signed by ca-cert/, any],
    ['no certificate', server, anonymous, 'localhost', /^TLS handshake: the client has no certificate$/, any],
    ['none needed', { ...server, ca: undefined }, anonymous, 'localhost', done, done]
  ]
  const maker = await PairMaker.listen(t)
  for (const [what, serverCreds, clientCreds, hostname, serverEnd, clientEnd] of cases) {
    const { server, peer } = await tlsServer(t, maker, serverCreds)
    const outcome = await handshakes({ server, client: tlsClient(t, peer, clientCreds, hostname) })
    t.match(outcome.server, serverEnd, `${what}: the server`)
    t.match(outcome.client, clientEnd, `${what}: the client`)
  }
})

void t.test('handshake - a client that is refused behind it cannot read', needs, async (t) => {
  const { server, client } = creds()
  const maker = await PairMaker.listen(t)
  const refused: [TLSCreds, RegExp][] = [
    [{ ...client, cert: undefined, key: undefined }, /wants a certificate of ours/],
    [{ ...foreignCreds().client, ca: client.ca }, /closed|does not know the CA of our certificate/]
  ]
  for (const [clientCreds, text] of refused) {
    const { server: end, peer } = await tlsServer(t, maker, server)
    const channel = tlsClient(t, peer, clientCreds)
    const { client: shaken } = await handshakes({ server: end, client: channel })
    t.equal(shaken, 'done')
    await t.rejects(receive(channel, 1), { kind: /protocol|transport/, message: text })
  }
})

const none = { ca: undefined, cert: undefined, key: undefined }
const keys: TLSCreds = {
  ...none,
  keys: new Map([
    ['alice', '00112233445566778899aabbccddeeff'],
    ['bob', 'ab']
  ])
}
const user = (username: string, key: string): TLSCreds => ({ ...none, psk: { username, key } })
const alice = user('alice', '00112233445566778899AABBCCDDEEFF')

void t.test('handshake - by pre-shared keys', needs, async (t) => {
  const done = /^done$/
  const perhaps = /the server (refuses|closed the connection).*, perhaps since/
  const cases: [what: string, TLSCreds, TLSCreds, server: RegExp, client: RegExp][] = [
    ['alice', keys, alice, done, done],
    ['bob', keys, user('bob', 'ab'), done, done],
    ['another key', keys, user('alice', 'ab'), /the client has another key for this user/, perhaps],
    [
      'nobody',
      keys,
      user('carol\x1b[2J', 'ab'),
      /the client's user 'carol {1,2}\[2J' has no key here/,
      perhaps
    ],
    ['a certificate', keys, creds().client, /the client has no pre-shared key/, /the server refuses/],
    [
      'a server with a certificate',
      { ...creds().server, ca: undefined },
      alice,
      /./,
      /the server has a certificate, and not the pre-shared key|the server refuses/
    ]
  ]
  const maker = await PairMaker.listen(t)
  for (const [what, serverCreds, clientCreds, serverEnd, clientEnd] of cases) {
    const { server, peer } = await tlsServer(t, maker, serverCreds)
    const outcome = await handshakes({ server, client: tlsClient(t, peer, clientCreds) })
    t.match(outcome.server, serverEnd, `${what}: the server`)
    t.match(outcome.client, clientEnd, `${what}: the client`)
  }
})

void t.test('handshake - by pre-shared keys with Node.js, in both versions', needs, async (t) => {
  const maker = await PairMaker.listen(t)
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    for (const [name, key, outcome] of [
      ['alice', '00112233445566778899aabbccddeeff', 'done'],
      ['alice', 'ff', /another key|decryption failed|bad record mac|digest check failed/],
      ['carol', 'ff', /user 'carol' has no key here/]
    ] as const) {
      const { server, peer } = await tlsServer(t, maker, keys)
      nodeClient(t, peer, {
        ...none,
        maxVersion,
        ciphers: PSK_CIPHERS,
        checkServerIdentity: () => undefined,
        pskCallback: () => ({ identity: name, psk: Buffer.from(key, 'hex') })
      })
      const ended = await run(() => server.handshake()).then(
        () => 'done',
        (error: Error) => error.message
      )
      t.match(ended, outcome, `${maxVersion} ${name} ${key}`)
      if (ended === 'done') t.equal(server.protocol, maxVersion)
    }
  }
})

void t.test('R14 - TLS 1.2 is spoken, and nothing older', needs, async (t) => {
  const maker = await PairMaker.listen(t)
  const shake = async (maxVersion: tls.SecureVersion): Promise<string> => {
    const { server, peer } = await tlsServer(t, maker, creds().server)
    nodeClient(t, peer, { minVersion: 'TLSv1', maxVersion, ciphers: 'DEFAULT@SECLEVEL=0' })
    await run(() => server.handshake())
    return server.protocol!
  }
  t.equal(await shake('TLSv1.3'), 'TLSv1.3')
  t.equal(await shake('TLSv1.2'), 'TLSv1.2')
  for (const old of ['TLSv1.1', 'TLSv1'] as const) {
    await t.rejects(shake(old), { kind: 'protocol', message: /no version of TLS from 1.2 on/ })
  }
})

void t.test('handshake - with a peer that does not speak TLS, or nothing, or goes', needs, async (t) => {
  const maker = await PairMaker.listen(t)
  const cases: [what: string, act: (peer: net.Socket) => void, RegExp][] = [
    ['an NBD option', (peer) => peer.write('IHAVEOPT\0\0\0\x03\0\0\0\0'), /what the client sends is not TLS/],
    ['an HTTP request', (peer) => peer.write('GET / HTTP/1.0\r\n\r\n'), /what the client sends is not TLS/],
    ['silence', () => undefined, /^TLS handshake: it did not end within 100 ms$/],
    ['the end', (peer) => peer.end(), /the client closed the connection/],
    ['its end', (peer) => peer.destroy(), /the client closed the connection/]
  ]
  for (const [what, act, text] of cases) {
    const { server, peer } = await tlsServer(t, maker, creds().server)
    act(peer)
    await t.rejects(
      run(() => server.handshake(what === 'silence' ? 100 : undefined)),
      { kind: /protocol|transport/, message: text },
      what
    )
    t.throws(() => server.readv(whole(Memory.allocate(1))), { message: text }, 'for good')
  }
})

void t.test('handshake - what was received before it is taken for TLS', needs, async (t) => {
  const maker = await PairMaker.listen(t)
  const unread = await maker.descriptor()
  const first = firstBytes(unread.peer)
  const sink = new net.Socket({ fd: unread.fd })
  t.teardown(() => sink.destroy())
  nodeClient(t, sink)
  const hello = await within('a ClientHello', first)
  unread.peer.destroy()

  const { server, peer } = await tlsServer(t, maker, creds().server, hello)
  const shaken = run(() => server.handshake(500))
  const answer = await within('an answer', firstBytes(peer))
  t.equal(answer[0], 22, 'a handshake record')
  peer.destroy()
  await t.rejects(shaken, { kind: 'transport', message: /the client closed the connection/ })

  const injected = await tlsServer(t, maker, creds().server, Buffer.from('IHAVEOPT\0\0\0\x03\0\0\0\0'))
  await t.rejects(
    run(() => injected.server.handshake()),
    { kind: 'protocol', message: /what the client sends is not TLS/ }
  )
})

void t.test('shutdown - ends a handshake that waits', needs, async (t) => {
  const { server } = await tlsServer(t, await PairMaker.listen(t), creds().server)
  const shaken = run(() => server.handshake())
  server.shutdown('both')
  await t.rejects(shaken, { kind: 'transport', message: /the channel is closed/ })
})

/**
 * A handshake of which only the first `limit` bytes get through in one direction; then the connection ends.
 *
 * @returns how it ended at each end, and how many bytes there were
 */
async function cutHandshake(
  t: Test,
  makers: [PairMaker, PairMaker],
  direction: 'to server' | 'to client',
  limit: number
): Promise<{ server: string; client: string; bytes: number }> {
  const { server, peer } = await tlsServer(t, makers[0], creds().server)
  const front = await makers[1].descriptor()
  const middle = new net.Socket({ fd: front.fd })
  const client = tlsClient(t, front.peer, creds().client)
  let bytes = 0
  const pass = (from: net.Socket, to: net.Socket, most: number): void => {
    let passed = 0
    from.on('data', (data) => {
      const part = data.subarray(0, most - passed)
      passed += part.length
      if (most !== Infinity) bytes = passed
      if (part.length > 0 && !to.destroyed) to.write(part)
      if (passed >= most) cut()
    })
    from.on('error', () => undefined)
    from.on('close', () => cut())
  }
  const cut = (): void => {
    middle.destroySoon()
    peer.destroySoon()
  }
  t.teardown(() => middle.destroy())
  if (limit === 0) cut()
  pass(middle, peer, direction === 'to server' ? limit : Infinity)
  pass(peer, middle, direction === 'to client' ? limit : Infinity)
  return { ...(await handshakes({ server, client })), bytes }
}

for (const direction of ['to server', 'to client'] as const) {
  void t.test(
    `handshake - cut at any byte on the way ${direction}, it ends with an error`,
    needs,
    async (t) => {
      const makers: [PairMaker, PairMaker] = [await PairMaker.listen(t), await PairMaker.listen(t)]
      const end = direction === 'to server' ? 'server' : 'client'
      const { bytes, ...all } = await cutHandshake(t, makers, direction, 1_000_000)
      t.strictSame(all, { server: 'done', client: 'done' })
      t.ok(bytes > 500, `${bytes} bytes`)
      // In the flight to the client the session tickets come last, without which it is done.
      const needed = direction === 'to server' ? bytes : Math.floor(bytes / 2)
      for (let limit = 0; limit < needed; limit += limit < 8 ? 1 : 61) {
        const outcome = await cutHandshake(t, makers, direction, limit)
        if (!outcome[end].startsWith('TLS')) t.fail(`${end} after ${limit} bytes: ${outcome[end]}`)
      }
    }
  )
}
