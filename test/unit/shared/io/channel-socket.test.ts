import * as crypto from 'node:crypto'
import { once } from 'node:events'
import * as fs from 'node:fs'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { Coroutine, type CoroutineFn } from '../../../../shared/coroutine/coroutine.ts'
import { QIO_CHANNEL_ERR_BLOCK } from '../../../../shared/io/channel.ts'
import { QIOChannelSocket } from '../../../../shared/io/channel-socket.ts'
import { connectSocket } from '../../../../shared/io/connect.ts'
import { StagingPipe } from '../../../../shared/io/staging-pipe.ts'
import { closeFd, duplicateFd } from '../../../../shared/syscall/fd.ts'
import { declare } from '../../../../shared/syscall/libc.ts'
import { Memory } from '../../../../shared/syscall/memory.ts'
import { imageOf } from '../../../helpers/files.ts'
import { openSockets } from '../../../helpers/proc.ts'
import { channelPair, PairMaker } from '../../../helpers/raw-pair.ts'
import { waitFor, within } from '../../../helpers/wait-for.ts'
import { AsyncChannel } from './async-channel.ts'
import { pattern, rounds } from './channel-bytes.ts'

void t.test('send - into a full socket is QIO_CHANNEL_ERR_BLOCK, and what was taken arrives', async (t) => {
  const { channel, peer } = await channelPair(t)
  const io = new AsyncChannel(channel)
  peer.pause()
  const memory = Memory.allocate(1 << 20)
  memory.buffer.set(pattern(1 << 20))
  let sent = 0
  for (;;) {
    const n = channel.writev([{ memory, start: sent % memory.length, end: memory.length }])
    if (n === QIO_CHANNEL_ERR_BLOCK) break
    sent += n
  }
  t.ok(sent > 0)
  const last = io.writeAll(Buffer.from('end'))
  const received: Buffer[] = []
  peer.on('data', (bytes) => received.push(bytes)).resume()
  await within('room', last)
  await waitFor('all of it', () => received.reduce((sum, { length }) => sum + length, 0) === sent + 3)
  const all = Buffer.concat(received)
  t.equal(all.toString('latin1', sent), 'end')
  const expected = Buffer.concat(Array<Buffer>(Math.ceil(sent / memory.length)).fill(memory.buffer)).subarray(
    0,
    sent
  )
  t.ok(all.subarray(0, sent).equals(expected))
})

void t.test('send - to a peer that is gone is an error, and not the end of the process', async (t) => {
  for (const family of ['unix', 'tcp'] as const) {
    const { channel, peer } = await (await PairMaker.listen(t, family)).make(t)
    const io = new AsyncChannel(channel)
    peer.destroy()
    const memory = Memory.allocate(4096)
    const gone = async (): Promise<void> => {
      for (;;) {
        channel.writev([{ memory, start: 0, end: 4096 }])
        await rounds()
      }
    }
    await t.rejects(within('an error', gone()), { kind: 'transport', message: /./ }, family)
    await t.rejects(
      within('an error', io.writeAll(Buffer.alloc(1 << 20))),
      { kind: 'transport', message: /./ },
      family
    )
  }
})

void t.test('writeAll - fails when the channel is shut down while it waits for room', async (t) => {
  const { channel, peer } = await channelPair(t)
  const io = new AsyncChannel(channel)
  peer.pause()
  const written = io.writeAll(Buffer.alloc(16 << 20))
  await rounds()
  channel.shutdown('both')
  await t.rejects(within('the writer', written), { kind: 'transport', message: /./ })
})

void t.test('sendfile - sends a part of a file, and 0 tells that it ends', async (t) => {
  const { channel, peer } = await channelPair(t)
  const file = fs.openSync(process.execPath, 'r')
  t.teardown(() => fs.closeSync(file))
  const received: Buffer[] = []
  peer.on('data', (bytes) => received.push(bytes))
  t.equal(channel.sendfile(file, 1, 3), 3)
  await waitFor('three bytes', () => received.length > 0)
  t.equal(Buffer.concat(received).toString(), 'ELF')
  t.equal(channel.sendfile(file, fs.fstatSync(file).size, 10), 0)
})

/** @returns how often it has waited for room */
function* sendAll(
  channel: QIOChannelSocket,
  file: number,
  offset: number,
  length: number
): CoroutineFn<number> {
  let waits = 0
  for (let at = 0; at < length;) {
    const n = channel.sendfile(file, offset + at, length - at)
    if (n === QIO_CHANNEL_ERR_BLOCK) {
      waits++
      yield* channel.yield('out')
    } else {
      at += n
    }
  }
  return waits
}

void t.test('sendfile - waits for room, as writing does', async (t) => {
  const { channel, peer } = await channelPair(t)
  const bytes = crypto.randomBytes(8 << 20)
  const fd = fs.openSync(imageOf(t, bytes), 'r')
  t.teardown(() => fs.closeSync(fd))
  const received: Buffer[] = []
  peer.on('data', (data) => received.push(data))
  const sent = Coroutine.start(() => sendAll(channel, fd, 0, bytes.length))
  t.ok((await within('all to be sent', sent)) > 0)
  await waitFor('all', () => received.reduce((sum, { length }) => sum + length, 0) === bytes.length)
  t.ok(Buffer.concat(received).equals(bytes))
})

const HEADER = 48
const PART = 64 << 10
const PARTS = 8192

/** As replies go: a header, and a part of a file behind it. */
function* sendStaged(channel: QIOChannelSocket, file: number): CoroutineFn {
  const pipe = StagingPipe.take()
  if (!pipe) throw new Error('no pipe')
  const memory = Memory.allocate(HEADER)
  for (let i = 0; i < PARTS; i++) {
    for (let start = 0; start < HEADER;) {
      const n = channel.writev([{ memory, start, end: HEADER }], true)
      if (n === QIO_CHANNEL_ERR_BLOCK) yield* channel.yield('out')
      else start += n
    }
    for (let left = pipe.stage(file, 0, PART); left > 0;) {
      const n = channel.splice(pipe.readFd, left)
      if (n === QIO_CHANNEL_ERR_BLOCK) yield* channel.yield('out')
      else left -= n
    }
    pipe.taken(PART)
  }
  pipe.give()
}

/** Listens, tells its port, takes one connection, and tells in the end how much has come: in a thread of its own. */
const RECEIVER = `
const { parentPort } = require('node:worker_threads')
const server = require('node:net').createServer((socket) => {
  socket.on('data', () => undefined)
  socket.on('end', () => parentPort.postMessage(socket.bytesRead))
  server.close()
})
server.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port))
`

// Where there is room again in the moment between seeing that there is none and waiting, it may be for a few bytes only.
void t.test('splice - all that it takes out of the pipe is sent', async (t) => {
  const fd = fs.openSync(imageOf(t, crypto.randomBytes(PART)), 'r')
  t.teardown(() => fs.closeSync(fd))
  const receiver = new Worker(RECEIVER, { eval: true })
  t.teardown(() => receiver.terminate())
  const [port] = (await once(receiver, 'message')) as [number]
  const channel = await connectSocket({ host: '127.0.0.1', port }, 5000)
  const received = once(receiver, 'message') as Promise<[number]>
  await within(
    'all to be sent',
    Coroutine.start(() => sendStaged(channel, fd))
  )
  await channel.close()
  t.same(await within('what has come', received), [PARTS * (HEADER + PART)])
})

/** Where this process has code of a library, and how much: it is there above 2 GiB, and does not change. */
function libraryCode(): { start: number; length: number } {
  for (const line of fs.readFileSync('/proc/self/maps', 'utf8').split('\n')) {
    const [, first, last] = /^([0-9a-f]+)-([0-9a-f]+) r-x.* \/.*\.so/.exec(line) ?? []
    if (first === undefined || last === undefined) continue
    const [start, end] = [parseInt(first, 16), parseInt(last, 16)]
    if (end - start >= 1 << 20) return { start, length: end - start }
  }
  throw new Error('there is no such memory')
}

for (const { what, file, part, waits } of [
  {
    what: 'what can only be read',
    file: '/proc/self/auxv',
    part: () => ({ start: 0, length: 100 }),
    waits: false
  },
  { what: 'what lies beyond the 2 GiB that it takes', file: '/proc/self/mem', part: libraryCode, waits: true }
]) {
  void t.test(`sendfile - reads ${what}`, async (t) => {
    const { channel, peer } = await channelPair(t)
    const fd = fs.openSync(file, 'r')
    t.teardown(() => fs.closeSync(fd))
    const { start, length } = part()
    const received: Buffer[] = []
    peer.on('data', (data) => received.push(data))
    const sent = Coroutine.start(() => sendAll(channel, fd, start, length))
    t.equal((await within('all to be sent', sent)) > 0, waits)
    await waitFor('all', () => received.reduce((sum, { length }) => sum + length, 0) === length)
    const expected = Buffer.alloc(length)
    t.equal(fs.readSync(fd, expected, 0, length, start), length)
    t.ok(Buffer.concat(received).equals(expected))
  })
}

const TCP_NODELAY = 1
const TCP_CORK = 3
const getsockopt = declare('int getsockopt(int fd, int level, int name, uintptr_t value, uintptr_t length)')

function tcpOption(fd: number, name: number): number {
  const memory = Memory.allocate(16)
  memory.buffer.writeInt32LE(-1, 0)
  memory.buffer.writeInt32LE(4, 8)
  const result = getsockopt(fd, 6 /* IPPROTO_TCP */, name, memory.address, memory.address + 8)
  return result === 0 ? memory.buffer.readInt32LE(0) : -1
}

void t.test('R15 - a TCP channel has TCP_NODELAY', async (t) => {
  const { fd, peer } = await (await PairMaker.listen(t, 'tcp')).descriptor()
  t.equal(tcpOption(fd, TCP_NODELAY), 0)
  const channel = new QIOChannelSocket(fd)
  t.equal(tcpOption(fd, TCP_NODELAY), 1)
  channel.setDelay(true)
  t.equal(tcpOption(fd, TCP_NODELAY), 0)
  peer.destroy()
  await channel.close()
})

void t.test('setCork - holds TCP back, and does nothing to a Unix socket', async (t) => {
  const { fd, peer } = await (await PairMaker.listen(t, 'tcp')).descriptor()
  const channel = new QIOChannelSocket(fd)
  t.equal(tcpOption(fd, TCP_CORK), 0)
  channel.setCork(true)
  t.equal(tcpOption(fd, TCP_CORK), 1)
  channel.setCork(false)
  t.equal(tcpOption(fd, TCP_CORK), 0)
  peer.destroy()
  await channel.close()
  const { channel: unix } = await channelPair(t)
  unix.setCork(true)
  await new AsyncChannel(unix).writeAll(Buffer.from('goes'))
})

for (const [what, give] of [
  ['a time is up', (channel: QIOChannelSocket) => channel.close(1)],
  [
    'it is shut down',
    (channel: QIOChannelSocket) => {
      const closed = channel.close()
      channel.shutdown('both')
      return closed
    }
  ]
] as const) {
  void t.test(`close - waits for a peer that reads nothing until ${what}`, async (t) => {
    for (const family of ['unix', 'tcp'] as const) {
      const { channel, peer } = await (await PairMaker.listen(t, family)).make(t)
      peer.pause()
      const memory = Memory.allocate(1 << 20)
      while (channel.writev([{ memory, start: 0, end: memory.length }]) !== QIO_CHANNEL_ERR_BLOCK);
      await within(family, give(channel), 5000)
    }
    t.pass()
  })
}

void t.test('close - ends the stream also for a peer that shares the descriptor with others', async (t) => {
  const { fd, peer } = await (await PairMaker.listen(t)).descriptor()
  const other = duplicateFd(fd)
  const channel = new QIOChannelSocket(fd)
  const ended = once(peer.resume(), 'end')
  await channel.close()
  await within('the end', ended)
  peer.destroy()
  closeFd(other)
})

void t.test('handle - of a channel that has ended is refused', async (t) => {
  const { channel } = await channelPair(t)
  t.throws(() => channel.handle(), { kind: 'bug', message: /one view/ })
  channel.setFollowCoroutineCtx(true)
  await channel.close()
  t.throws(() => channel.handle(), { kind: 'transport', message: /closed/ })
})

void t.test('channel - 1,000 of them leave no descriptor behind, however they end', async (t) => {
  const maker = await PairMaker.listen(t)
  const before = openSockets(process.pid)
  const memory = Memory.allocate(10)
  for (let i = 0; i < 1000; i++) {
    const { fd, peer } = await maker.descriptor()
    const channel = new QIOChannelSocket(fd)
    const io = new AsyncChannel(channel)
    if (i % 4 === 0) peer.end('x')
    if (i % 4 === 1) channel.shutdown('both')
    if (i % 4 === 2) {
      peer.destroy()
      await io.readAllEof(memory, 0, 10).catch(() => undefined)
    }
    await within('the close', channel.close())
    peer.destroy()
  }
  await waitFor('the sockets to be closed', () => openSockets(process.pid) <= before)
  t.pass()
})

void t.test(
  'unreadByPeer - is what a Unix socket holds for the peer, and nothing when that has read it',
  async (t) => {
    const { channel, peer } = await channelPair(t)
    t.equal(channel.unreadByPeer(), 0)
    peer.pause()
    const memory = Memory.allocate(16 * 1024)
    t.equal(channel.writev([{ memory, start: 0, end: memory.length }]), memory.length)
    const unread = channel.unreadByPeer()!
    t.ok(unread >= memory.length, `${unread} bytes`)
    peer.resume()
    await waitFor('the peer to read', () => channel.unreadByPeer() === 0)
  }
)
