import * as net from 'node:net'
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import t from 'tap'
import { coAwait } from '../../../../shared/coroutine/aio-co.ts'
import { Coroutine, type CoroutineFn } from '../../../../shared/coroutine/coroutine.ts'
import { QIOChannelPair } from '../../../../shared/io/channel-pair.ts'
import { QIO_CHANNEL_ERR_BLOCK, type QIOChannel } from '../../../../shared/io/channel.ts'
import { QIOChannelWebsock } from '../../../../shared/io/channel-websock.ts'
import { Memory } from '../../../../shared/syscall/memory.ts'
import { within } from '../../../helpers/wait-for.ts'
import { receive, send } from './channel-bytes.ts'
import { fillPattern, iovecs } from './channel-validator.ts'
import { binary, clientAndPeer, close, frame, masked, serverAndPeer } from './websock-ends.ts'

void t.test('websock: frames of all lengths and fragments are one stream', async (t) => {
  const { server, peer } = await serverAndPeer()
  const [all] = iovecs(1, 300_000)
  fillPattern([all!], 3)
  const bytes = all!.memory.buffer.subarray(0, 300_000)
  const frames: Buffer[] = []
  let at = 0
  for (const length of [0, 1, 125, 126, 127, 65_535, 65_536, 100_000]) {
    frames.push(masked(binary, bytes.subarray(at, (at += length))))
    // Control frames may come between the fragments of a message.
    frames.push(masked(binary, bytes.subarray(at, (at += 10)), false))
    frames.push(masked(10, 'unasked pong'))
    frames.push(masked(0, '', false))
    frames.push(masked(0, bytes.subarray(at, (at += 7))))
  }
  const sending = send(peer, Buffer.concat(frames))
  t.ok((await receive(server, at)).equals(bytes.subarray(0, at)))
  await sending
  t.equal(server.readv(iovecs(1, 1)), QIO_CHANNEL_ERR_BLOCK)
  // The same however it is cut.
  for (const byte of Buffer.concat([masked(binary, 'ab', false), masked(0, bytes.subarray(0, 130))])) {
    await send(peer, Buffer.from([byte]))
  }
  t.ok((await receive(server, 132)).subarray(2).equals(bytes.subarray(0, 130)))
})

void t.test(
  'websock: what is sent is one binary frame for each write, masked by a client only',
  async (t) => {
    for (const [channel, peer, mask] of [
      await serverAndPeer().then(({ server, peer }) => [server, peer, false] as const),
      await clientAndPeer().then(({ client, peer }) => [client, peer, true] as const)
    ]) {
      await send(channel, 'hello')
      const plain = frame(binary, 'hello')
      const sent = await receive(peer, plain.length + (mask ? 4 : 0))
      t.equal(sent[0], plain[0])
      t.equal(sent[1], mask ? 0x85 : 5)
      const payload = sent.subarray(-5).map((byte, i) => (mask ? byte ^ sent[2 + (i & 3)]! : byte))
      t.equal(Buffer.from(payload).toString(), 'hello')
    }
  }
)

void t.test('websock: a ping is answered by whoever reads', async (t) => {
  const { server, peer } = await serverAndPeer()
  await send(peer, masked(9, 'are you there?'))
  t.equal(server.readv(iovecs(1, 1)), QIO_CHANNEL_ERR_BLOCK)
  const pong = frame(10, 'are you there?')
  t.same(await receive(peer, pong.length), pong)
  // A ping that comes while a frame is on its way is answered behind it.
  const big = await serverAndPeer({}, 1024)
  await send(big.server, 'x'.repeat(2000))
  await send(big.peer, masked(9, '1'))
  await send(big.peer, masked(9, '2'))
  t.equal(big.server.readv(iovecs(1, 1)), QIO_CHANNEL_ERR_BLOCK)
  const sent = frame(binary, 'x'.repeat(2000))
  t.same(await receive(big.peer, sent.length), sent)
  t.same(await receive(big.peer, 3), frame(10, '2'), 'the last one is enough')
})

void t.test('websock: what waits for room goes out although nobody writes again', async (t) => {
  const { server, peer } = await serverAndPeer({}, 1024)
  const iov = iovecs(1, 50_000)
  fillPattern(iov, 5)
  t.equal(server.writev(iov), 50_000)
  t.equal(server.writev(iov), QIO_CHANNEL_ERR_BLOCK)
  const waiting = Coroutine.start(() => server.yield('out'))
  const sent = await receive(peer, 50_004)
  t.ok(sent.subarray(4).equals(iov[0]!.memory.buffer.subarray(0, 50_000)))
  await within('the writer', waiting)
})

void t.test('websock: a farewell of the peer is the end of the stream, and is answered', async (t) => {
  for (const [payload, answer] of [
    [close(1001), close(1001)],
    [Buffer.alloc(0), close(1000)]
  ] as const) {
    const { server, peer } = await serverAndPeer()
    await send(peer, Buffer.concat([masked(binary, 'last'), masked(8, payload)]))
    t.equal((await receive(server, 4)).toString(), 'last')
    t.equal(server.readv(iovecs(1, 1)), 0)
    t.equal(server.readv(iovecs(1, 1)), 0, 'again')
    await within(
      'a reader that waits',
      Coroutine.start(() => server.yield('in'))
    )
    t.throws(() => server.writev(iovecs(1, 1)), { kind: 'transport', message: /has closed/ })
    t.same(await receive(peer, 4), frame(8, answer))
    await within('the close', server.close())
    t.equal(peer.readv(iovecs(1, 1)), 0, 'one farewell only')
  }
})

void t.test('websock: close says farewell behind what was written', async (t) => {
  const { server, peer } = await serverAndPeer({}, 1024)
  await send(server, 'x'.repeat(5000))
  const closed = server.close()
  const expected = Buffer.concat([frame(binary, 'x'.repeat(5000)), frame(8, close(1000))])
  t.same(await receive(peer, expected.length), expected)
  await within('the close', closed)
  t.equal(peer.readv(iovecs(1, 1)), 0)
})

void t.test('websock: close does not wait for ever for a peer that does not read', async (t) => {
  const { server } = await serverAndPeer({}, 1024)
  await send(server, 'x'.repeat(5000))
  const reading = Coroutine.start(() => server.readvAll(iovecs(1, 1)))
  const closed = server.close()
  await t.rejects(within('a reader', reading), { kind: 'transport', message: /closed/ })
  await within('the close', closed)
})

void t.test('websock: a peer that breaks the protocol is told so', async (t) => {
  const huge = Buffer.concat([Buffer.from([0x82, 0xff, 0xff, 0xff, 0xff, 0xff]), Buffer.alloc(8)])
  for (const [what, bytes, code, message] of [
    ['no mask', frame(binary, 'abc'), 1002, /wrong masking/],
    ['reserved bits', Buffer.from([0xc2, 0x80, 0, 0, 0, 0]), 1002, /reserved bits/],
    ['text', masked(1, 'abc'), 1003, /opcode 1 /],
    ['an unknown opcode', masked(3, ''), 1003, /opcode 3 /],
    ['an unknown control opcode', masked(11, ''), 1003, /opcode 11 /],
    ['a continuation of nothing', masked(0, 'abc'), 1002, /out of order/],
    [
      'a message within a message',
      Buffer.concat([masked(binary, '', false), masked(binary, '')]),
      1002,
      /order/
    ],
    ['a ping in fragments', masked(9, 'abc', false), 1002, /control frame/],
    ['a long ping', masked(9, 'x'.repeat(126)), 1002, /control frame/],
    ['half a code', masked(8, 'x'), 1002, /half a code/],
    ['126 for a short length', Buffer.from([0x82, 0xfe, 0, 125, 0, 0, 0, 0]), 1002, /not minimal/],
    [
      '127 for a short length',
      Buffer.concat([Buffer.from([0x82, 0xff]), Buffer.alloc(12)]),
      1002,
      /not minimal/
    ],
    ['more than the limit', masked(binary, 'x'.repeat(1001)), 1009, /longer than 1000 bytes/],
    ['2^64 bytes', huge, 1009, /longer than 1000 bytes/]
  ] as const) {
    const { server, peer } = await serverAndPeer({ maxFrameSize: 1000 })
    await send(peer, bytes)
    const read = (): number => server.readv(iovecs(1, 10))
    t.throws(read, { kind: 'transport', message }, what)
    t.throws(read, { kind: 'transport', message }, `${what}, again`)
    t.throws(() => server.writev(iovecs(1, 1)), { kind: 'transport', message }, what)
    t.same(await receive(peer, 4), frame(8, close(code)), what)
  }
  const { client, peer } = await clientAndPeer()
  await send(peer, masked(binary, 'abc'))
  t.throws(() => client.readv(iovecs(1, 1)), { kind: 'transport', message: /wrong masking/ })
})

void t.test(
  'websock: a stream that ends within a message is an error, between messages the end',
  async (t) => {
    const whole = masked(binary, 'abc')
    for (let length = 0; length < whole.length; length++) {
      const { server, peer } = await serverAndPeer()
      await send(peer, whole.subarray(0, length))
      await peer.close()
      const read = Coroutine.start(() => server.readvAllEof(iovecs(1, 3)))
      if (length === 0) t.equal(await within('the end', read), false)
      else
        await t.rejects(
          within('the end', read),
          { kind: 'transport', message: /within a message/ },
          `${length}`
        )
    }
    const { server, peer } = await serverAndPeer()
    await send(peer, masked(binary, 'abc', false))
    await peer.close()
    t.equal((await receive(server, 3)).toString(), 'abc')
    t.throws(() => server.readv(iovecs(1, 1)), { kind: 'transport', message: /within a message/ })
  }
)

/** Carries bytes between a socket and a channel, until one of them ends. */
async function carry(socket: net.Socket, channel: QIOChannel): Promise<void> {
  const memory = Memory.allocate(4096)
  const out = Coroutine.start(function* (): CoroutineFn {
    for (;;) {
      const n = channel.readv([{ memory, start: 0, end: 4096 }])
      if (n === 0) break
      if (n === QIO_CHANNEL_ERR_BLOCK) yield* channel.yield('in')
      else
        yield* coAwait(
          new Promise((resolve) => socket.write(Buffer.from(memory.buffer.subarray(0, n)), resolve))
        )
    }
    socket.end()
  })
  for await (const bytes of socket) await send(channel, bytes as Buffer)
  channel.shutdown('write')
  await out
}

void t.test("websock: Node's own WebSocket gets back what it sends", async (t) => {
  const [master, end] = QIOChannelPair.create()
  const listener = net.createServer(
    { allowHalfOpen: true },
    (socket) => void carry(socket, end).catch(() => undefined)
  )
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
  t.teardown(() => new Promise((resolve) => listener.close(resolve)))
  const { port } = listener.address() as net.AddressInfo
  const echo = Coroutine.start(function* (): CoroutineFn<string> {
    const channel = yield* QIOChannelWebsock.accept(master)
    const iov = iovecs(1, 200_000)
    yield* channel.readvAll(iov)
    yield* channel.writevAll(iov)
    const ended = yield* channel.readvAllEof(iovecs(1, 1))
    yield* coAwait(channel.close())
    return ended ? 'more' : 'ended'
  })
  const script = `
    const sent = Buffer.alloc(200000, 'mqnbd')
    const received = []
    const socket = new WebSocket('ws://127.0.0.1:${port}/', ['binary'])
    socket.binaryType = 'arraybuffer'
    socket.onopen = () => socket.send(sent)
    socket.onmessage = ({ data }) => {
      received.push(Buffer.from(data))
      const all = Buffer.concat(received)
      if (all.length === sent.length) socket.close(1000, all.equals(sent) ? 'equal' : 'different')
      if (all.length === sent.length) console.log(all.equals(sent) ? 'equal' : 'different')
    }
    socket.onclose = ({ wasClean }) => console.log(wasClean ? 'clean' : 'not clean')
    socket.onerror = ({ message }) => console.log(message)`
  const client = promisify(execFile)(process.execPath, ['--experimental-websocket', '-e', script], {
    timeout: 30_000
  })
  t.equal(await within('the server', echo), 'ended')
  t.equal((await within('the client', client)).stdout, 'equal\nclean\n')
})
