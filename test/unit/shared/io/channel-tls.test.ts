import * as net from 'node:net'
import * as tls from 'node:tls'
import t from 'tap'
import { Coroutine, type CoroutineFn } from '../../../../shared/coroutine/coroutine.ts'
import { QIO_CHANNEL_ERR_BLOCK, type IOVec, type QIOChannel } from '../../../../shared/io/channel.ts'
import type { QIOChannelTLS } from '../../../../shared/io/channel-tls.ts'
import { loadClientCreds, loadServerCreds, type TLSCreds } from '../../../../shared/io/tls-creds.ts'
import { Memory } from '../../../../shared/syscall/memory.ts'
import { openSockets } from '../../../helpers/proc.ts'
import { PairMaker } from '../../../helpers/raw-pair.ts'
import { requires, type Test } from '../../../helpers/requires.ts'
import { TestCA } from '../../../helpers/tls-certs.ts'
import { handshakes, tlsClient, tlsPair, tlsServer } from '../../../helpers/tls-pair.ts'
import { waitFor, within } from '../../../helpers/wait-for.ts'

const KiB = 1024
const needs = requires('certtool')

interface Creds {
  ca: TestCA
  server: TLSCreds
  client: TLSCreds
}

function makeCreds(): Creds {
  const ca = TestCA.make(t).server().client()
  return { ca, server: loadServerCreds(ca.folder, { verifyPeer: true }), client: loadClientCreds(ca.folder) }
}

let good: Creds | undefined
let foreign: Creds | undefined
const creds = (): Creds => (good ??= makeCreds())
/** Of a CA that nobody else knows. */
const foreignCreds = (): Creds => (foreign ??= makeCreds())

const run = <T>(entry: () => CoroutineFn<T>): Promise<T> => within('a coroutine', Coroutine.start(entry))

const pattern = (length: number): Buffer =>
  Buffer.from(Uint32Array.from({ length: Math.ceil(length / 4) }, (_, i) => i).buffer).subarray(0, length)

function memoryOf(bytes: Buffer): Memory {
  const memory = Memory.allocate(bytes.length)
  memory.buffer.set(bytes)
  return memory
}

/** `length` bytes of memory in pieces of this size. */
function pieces(memory: Memory, length: number, size: number): IOVec[] {
  const count = Math.ceil(length / size)
  return Array.from({ length: count }, (_, i) => ({
    memory,
    start: i * size,
    end: Math.min((i + 1) * size, length)
  }))
}

const whole = (memory: Memory, length = memory.length): IOVec[] => [{ memory, start: 0, end: length }]

const send = (channel: QIOChannel, text: string): Promise<void> =>
  run(() => channel.writevAll(whole(memoryOf(Buffer.from(text)), text.length)))

async function receive(channel: QIOChannel, length: number): Promise<string> {
  const memory = Memory.allocate(length)
  await run(() => channel.readvAll(whole(memory, length)))
  return memory.buffer.toString('latin1', 0, length)
}

/** A client of Node's own, over the plain socket. */
function nodeClient(t: Test, peer: net.Socket, options: tls.ConnectionOptions = {}): tls.TLSSocket {
  const { ca, cert, key } = creds().client
  const client = tls.connect({ socket: peer, servername: 'localhost', ca, cert, key, ...options })
  client.on('error', () => undefined)
  t.teardown(() => client.destroy())
  return client
}

const firstBytes = (socket: net.Socket): Promise<Buffer> =>
  new Promise((resolve) => socket.once('data', (bytes: Buffer) => resolve(bytes)))

/** Stays the same for some rounds. */
async function settled(what: string, value: () => number): Promise<number> {
  let last = -1
  let same = 0
  await waitFor(what, () => {
    same = value() === last ? same + 1 : 0
    last = value()
    return same === 5
  })
  return last
}

for (const family of ['unix', 'tcp'] as const) {
  void t.test(
    `I17 tls/basic - over ${family}: both ends succeed, and what is sent arrives`,
    needs,
    async (t) => {
      const { server, client } = await tlsPair(t, await PairMaker.listen(t, family), creds())
      t.equal(server.protocol, 'TLSv1.3')
      t.strictSame([...server.features], ['shutdown'])
      const bytes = pattern(250 * 4194)
      const source = memoryOf(bytes)
      const move = async (from: QIOChannelTLS, to: QIOChannelTLS): Promise<void> => {
        const target = Memory.allocate(bytes.length)
        await Promise.all([
          run(() => from.writevAll(pieces(source, bytes.length, 4194))),
          run(() => to.readvAll(pieces(target, bytes.length, 4194)))
        ])
        if (!target.buffer.subarray(0, bytes.length).equals(bytes)) t.fail('other bytes than were sent')
      }
      await Promise.all([move(server, client), move(client, server)])
    }
  )
}

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
    [{ ...foreignCreds().client, ca: client.ca }, /closed/]
  ]
  for (const [clientCreds, text] of refused) {
    const { server: end, peer } = await tlsServer(t, maker, server)
    const channel = tlsClient(t, peer, clientCreds)
    const { client: shaken } = await handshakes({ server: end, client: channel })
    t.equal(shaken, 'done')
    await t.rejects(receive(channel, 1), { kind: /protocol|transport/, message: text })
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
      run(() => server.handshake(100)),
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

void t.test(
  'readv - reads what is there, in pieces of any size, and tells when there is nothing',
  needs,
  async (t) => {
    const { server, client } = await tlsPair(t, await PairMaker.listen(t), creds())
    const memory = Memory.allocate(100)
    t.equal(server.readv(whole(memory, 100)), QIO_CHANNEL_ERR_BLOCK)
    await send(client, '0123456789')
    await run(() => server.yield('in'))
    const iov = [
      { memory, start: 50, end: 53 },
      { memory, start: 0, end: 0 },
      { memory, start: 3, end: 5 }
    ]
    memory.buffer.fill(0xee)
    t.equal(server.readv(iov), 5)
    t.equal(memory.buffer.toString('latin1', 49, 54), '\xee012\xee')
    t.equal(memory.buffer.toString('latin1', 2, 6), '\xee34\xee')
    t.equal(server.readv(whole(memory, 100)), 5)
    t.equal(memory.buffer.toString('latin1', 0, 5), '56789')
    t.equal(server.readv(whole(memory, 100)), QIO_CHANNEL_ERR_BLOCK)
  }
)

void t.test('readv - a peer that sends on is not read from when nobody reads here', needs, async (t) => {
  const maker = await PairMaker.listen(t)
  const { server, peer } = await tlsServer(t, maker, creds().server)
  const client = nodeClient(t, peer)
  await run(() => server.handshake())
  const bytes = pattern(8 << 20)
  client.write(bytes)
  await settled('the peer to be held up', () => peer.bytesWritten)
  const memory = Memory.allocate(bytes.length)
  let held = 0
  for (;;) {
    const n = server.readv([{ memory, start: held, end: bytes.length }])
    if (n === QIO_CHANNEL_ERR_BLOCK) break
    held += n
  }
  t.ok(held >= 256 * KiB && held < 512 * KiB, `${held} bytes were held`)
  await run(() => server.readvAll([{ memory, start: held, end: bytes.length }]))
  t.ok(memory.buffer.subarray(0, bytes.length).equals(bytes))
})

void t.test(
  'writev - takes a bounded part when the peer does not read, and all of it arrives',
  needs,
  async (t) => {
    const maker = await PairMaker.listen(t)
    const { server, peer } = await tlsServer(t, maker, creds().server)
    const client = nodeClient(t, peer)
    await run(() => server.handshake())
    client.pause()
    const bytes = pattern(4 << 20)
    const memory = memoryOf(bytes)
    t.equal(server.writev([{ memory, start: 0, end: bytes.length }]), 256 * KiB, 'at once')
    t.equal(server.writev([{ memory, start: 0, end: bytes.length }]), QIO_CHANNEL_ERR_BLOCK)
    let sent = 256 * KiB
    const written = run(function* () {
      while (sent < bytes.length) {
        const n = server.writev([{ memory, start: sent, end: bytes.length }])
        if (n === QIO_CHANNEL_ERR_BLOCK) yield* server.yield('out')
        else sent += n
      }
      // The memory is the caller's again.
      memory.buffer.fill(0)
    })
    t.ok((await settled('the writer to be held up', () => sent)) < bytes.length)
    const received: Buffer[] = []
    client.on('data', (data: Buffer) => received.push(data)).resume()
    await written
    await waitFor('all of it', () => received.reduce((sum, { length }) => sum + length, 0) === bytes.length)
    t.ok(Buffer.concat(received).equals(bytes))
  }
)

void t.test('setCork - what is written meanwhile leaves together', needs, async (t) => {
  const { server, client } = await tlsPair(t, await PairMaker.listen(t), creds())
  const memory = Memory.allocate(100)
  server.setCork(true)
  const first = send(server, 'one')
  const second = send(server, 'two')
  server.setCork(false)
  await Promise.all([first, second])
  await run(() => client.yield('in'))
  t.equal(client.readv(whole(memory, 100)), 6)
})

void t.test('shutdown - wakes who waits to read with the end, to write with an error', needs, async (t) => {
  const { server } = await tlsPair(t, await PairMaker.listen(t), creds())
  const one = whole(Memory.allocate(1), 1)
  const reading = run(() => server.readvAllEof(one))
  // More than the peer, which does not read, and the kernel hold.
  const writing = run(() => server.writevAll(whole(Memory.allocate(8 << 20))))
  server.shutdown('both')
  t.equal(await reading, false)
  await t.rejects(writing, { kind: 'transport', message: /shut down/ })
  t.equal(await run(() => server.readvAllEof(one)), false, 'the next reader')
  await t.rejects(send(server, 'x'), { kind: 'transport', message: /shut down/ }, 'the next writer')
})

void t.test('shutdown - of one direction leaves the other', needs, async (t) => {
  const { server, client } = await tlsPair(t, await PairMaker.listen(t), creds())
  const one = whole(Memory.allocate(1), 1)
  server.shutdown('read')
  t.equal(await run(() => server.readvAllEof(one)), false)
  await send(server, 'reply')
  t.equal(await receive(client, 5), 'reply')
  client.shutdown('write')
  await t.rejects(send(client, 'x'), { kind: 'transport', message: /shut down/ })
  await send(server, 'more')
  t.equal(await receive(client, 4), 'more')
})

void t.test('shutdown - ends a handshake that waits', needs, async (t) => {
  const { server } = await tlsServer(t, await PairMaker.listen(t), creds().server)
  const shaken = run(() => server.handshake())
  server.shutdown('both')
  await t.rejects(shaken, { kind: 'transport', message: /the channel is closed/ })
})

void t.test('wakeRead - lets a reader look again', needs, async (t) => {
  const { server } = await tlsPair(t, await PairMaker.listen(t), creds())
  let woken = false
  const waiting = run(function* () {
    yield* server.yield('in')
    woken = true
  })
  t.notOk(woken)
  server.wakeRead()
  await waiting
  t.equal(server.readv(whole(Memory.allocate(1))), QIO_CHANNEL_ERR_BLOCK)
})

void t.test(
  'end - of a client that sends no more comes behind its bytes, and it still gets replies',
  needs,
  async (t) => {
    const maker = await PairMaker.listen(t)
    const { server, peer } = await tlsServer(t, maker, creds().server)
    peer.allowHalfOpen = true
    const client = nodeClient(t, peer)
    await run(() => server.handshake())
    client.end('request')
    t.equal(await receive(server, 7), 'request')
    t.equal(await run(() => server.readvAllEof(whole(Memory.allocate(1), 1))), false)
    const reply = new Promise<string>((resolve) => client.once('data', (data) => resolve(String(data))))
    await send(server, 'reply')
    t.equal(await within('the reply', reply), 'reply')
  }
)

void t.test('close - sends what was written, and close_notify behind it', needs, async (t) => {
  const maker = await PairMaker.listen(t)
  const { server, peer } = await tlsServer(t, maker, creds().server)
  // In TLS 1.2 the type of a record can be seen from outside.
  const middle = new net.Socket({ fd: (await relay(t, maker, peer)).fd })
  t.teardown(() => middle.destroy())
  const sent: Buffer[] = []
  peer.on('data', (data) => sent.push(data))
  const client = nodeClient(t, middle, { maxVersion: 'TLSv1.2' })
  const received: Buffer[] = []
  client.on('data', (data: Buffer) => received.push(data))
  await run(() => server.handshake())
  const bytes = pattern(200_000)
  await run(() => server.writevAll(whole(memoryOf(bytes), bytes.length)))
  await within('the close', server.close())
  await waitFor('all of it', () => Buffer.concat(received).equals(bytes))
  const types = recordTypes(Buffer.concat(sent))
  t.equal(types.at(-1), 21, 'an alert at the end')
  t.equal(types.lastIndexOf(23), types.length - 2, 'behind the data')
})

/** A connection whose bytes go through `peer`. */
async function relay(t: Test, maker: PairMaker, peer: net.Socket): Promise<{ fd: number }> {
  const { fd, peer: front } = await maker.descriptor()
  front.on('error', () => undefined)
  t.teardown(() => front.destroy())
  front.pipe(peer)
  peer.pipe(front)
  return { fd }
}

function recordTypes(bytes: Buffer): number[] {
  const types: number[] = []
  for (let at = 0; at < bytes.length; at += 5 + bytes.readUInt16BE(at + 3)) types.push(bytes[at]!)
  return types
}

void t.test(
  'yield - is a bug outside a coroutine, for two at once, and before the handshake',
  needs,
  async (t) => {
    const maker = await PairMaker.listen(t)
    const { server } = await tlsPair(t, maker, creds())
    t.throws(() => server.yield('in').next(), { kind: 'bug', message: /outside a coroutine/ })
    const first = run(() => server.yield('in'))
    await t.rejects(
      run(() => server.yield('in')),
      { kind: 'bug', message: /two coroutines/ }
    )
    server.wakeRead()
    await first
    await t.rejects(
      run(() => server.handshake()),
      { kind: 'bug', message: /second handshake/ }
    )
    const { server: early } = await tlsServer(t, maker, creds().server)
    t.throws(() => early.writev(whole(Memory.allocate(1))), { kind: 'bug', message: /before its handshake/ })
  }
)

void t.test('channel - 100 of them leave no descriptor behind, however they end', needs, async (t) => {
  const maker = await PairMaker.listen(t)
  const before = openSockets(process.pid)
  for (let i = 0; i < 100; i++) {
    const { server, peer } = await tlsServer(t, maker, creds().server)
    if (i % 5 === 0) {
      peer.destroy()
      await server.close()
      continue
    }
    const client = tlsClient(t, peer, i % 5 === 1 ? foreignCreds().client : creds().client)
    await handshakes({ server, client })
    if (i % 5 === 2) server.shutdown('both')
    if (i % 5 === 3) client.shutdown('both')
    await within('the close', Promise.all([server.close(), client.close()]))
  }
  await waitFor('the sockets to be closed', () => openSockets(process.pid) <= before)
  t.pass()
})
