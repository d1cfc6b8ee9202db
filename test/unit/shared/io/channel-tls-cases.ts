import * as net from 'node:net'
import t, { type Test } from 'tap'
import { QIO_CHANNEL_ERR_BLOCK, type IOVec } from '../../../../shared/io/channel.ts'
import type { QIOChannelTLS } from '../../../../shared/io/channel-tls.ts'
import { Memory } from '../../../../shared/syscall/memory.ts'
import { openSockets } from '../../../helpers/proc.ts'
import { PairMaker } from '../../../helpers/raw-pair.ts'
import { handshakes, tlsClient, tlsPair, tlsServer } from '../../../helpers/tls-pair.ts'
import { waitFor, within } from '../../../helpers/wait-for.ts'
import { memoryOf, pattern, receive, run, send, whole } from './channel-bytes.ts'
import { creds, foreignCreds, needs, nodeClient } from './tls-ends.ts'

const KiB = 1024

/** `length` bytes of memory in pieces of this size. */
function pieces(memory: Memory, length: number, size: number): IOVec[] {
  const count = Math.ceil(length / size)
  return Array.from({ length: count }, (_, i) => ({
    memory,
    start: i * size,
    end: Math.min((i + 1) * size, length)
  }))
}

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
      t.ok(server.features.has('shutdown') && !server.features.has('sendfile'))
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
  t.ok(held > 0 && held < 1280 * KiB, `${held} bytes were held`)
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
    let sent = server.writev([{ memory, start: 0, end: bytes.length }])
    t.ok(sent > 0 && sent <= 512 * KiB, `${sent} bytes at once`)
    t.equal(server.writev([{ memory, start: sent, end: bytes.length }]), QIO_CHANNEL_ERR_BLOCK)
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
  t.equal(String(await receive(client, 5)), 'reply')
  client.shutdown('write')
  await t.rejects(send(client, 'x'), { kind: 'transport', message: /shut down/ })
  await send(server, 'more')
  t.equal(String(await receive(client, 4)), 'more')
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
    t.equal(String(await receive(server, 7)), 'request')
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
