import { once } from 'node:events'
import * as fs from 'node:fs'
import t from 'tap'
import { Coroutine } from '../../../../shared/coroutine/coroutine.ts'
import { QIO_CHANNEL_ERR_BLOCK, type QIOChannel } from '../../../../shared/io/channel.ts'
import { QIOChannelSocket } from '../../../../shared/io/channel-socket.ts'
import { receiveWindow, WINDOW_SIZE } from '../../../../shared/io/receive-window.ts'
import { WindowReader } from '../../../../shared/io/window-reader.ts'
import { closeFd, duplicateFd } from '../../../../shared/syscall/fd.ts'
import { declare } from '../../../../shared/syscall/libc.ts'
import { Memory } from '../../../../shared/syscall/memory.ts'
import { openDescriptors } from '../../../helpers/proc.ts'
import { channelPair, PairMaker, type ChannelPair } from '../../../helpers/raw-pair.ts'
import { waitFor, within } from '../../../helpers/wait-for.ts'

const text = (memory: Memory, length: number): string => memory.buffer.toString('latin1', 0, length)
/** A channel as an async function reads and writes it. */
class AsyncChannel {
  readonly reader: WindowReader
  readonly #channel: QIOChannel

  constructor(channel: QIOChannel) {
    this.#channel = channel
    this.reader = new WindowReader(channel)
  }

  readAllEof(memory: Memory, at: number, length: number): Promise<boolean> {
    return Coroutine.start(() => this.reader.readAllEof(memory, at, at + length))
  }

  readAll(memory: Memory, at: number, length: number): Promise<void> {
    return Coroutine.start(() => this.reader.readAll(memory, at, at + length))
  }

  receive(): Promise<number> {
    return Coroutine.start(() => this.reader.receive())
  }

  discard(length: number): Promise<void> {
    return Coroutine.start(() => this.reader.discard(length))
  }

  unread(): void {
    this.reader.unread()
  }

  /** Takes what is there, also what was given back. */
  readNow(memory: Memory, at: number, length: number): number {
    const unread = this.reader.takeUnread()
    if (unread.length === 0) return this.#channel.readv([{ memory, start: at, end: at + length }])
    const n = unread.copy(memory.buffer, at, 0, length)
    this.reader.putUnread(unread.subarray(n))
    return n
  }

  writeAll(bytes: Buffer): Promise<void> {
    const memory = Memory.allocate(bytes.length)
    memory.buffer.set(bytes)
    return Coroutine.start(() => this.#channel.writevAll([{ memory, start: 0, end: bytes.length }]))
  }
}

/** Rounds of the loop: node:net has read by then what the kernel had. */
async function rounds(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve))
}
/** What a test expects in a place, every byte depending on where it is. */
const pattern = (length: number): Buffer =>
  Buffer.from(Uint32Array.from({ length: Math.ceil(length / 4) }, (_, i) => i).buffer).subarray(0, length)

void t.test('readAllEof - puts bytes together that come in pieces, and touches none beside', async (t) => {
  const { channel, peer } = await channelPair(t)
  const io = new AsyncChannel(channel)
  const memory = Memory.allocate(8192)
  memory.buffer.fill(0xee)
  const read = io.readAllEof(memory, 100, 10)
  for (const piece of ['0', '12', '345', '6789rest']) {
    peer.write(piece)
    await rounds()
  }
  t.equal(await read, true)
  t.equal(memory.buffer.toString('latin1', 99, 111), '\xee0123456789\xee')
  t.equal(io.readNow(memory, 0, 100), 4)
  t.equal(text(memory, 4), 'rest')
  t.equal(io.readNow(memory, 0, 100), QIO_CHANNEL_ERR_BLOCK)
})

void t.test('readAllEof - a large read is exact', async (t) => {
  const { channel, peer } = await channelPair(t)
  const io = new AsyncChannel(channel)
  const bytes = pattern(5_000_000)
  peer.write(bytes)
  const memory = Memory.allocate(bytes.length)
  t.equal(await io.readAllEof(memory, 0, bytes.length), true)
  t.ok(memory.buffer.subarray(0, bytes.length).equals(bytes))
})

void t.test('readAllEof - tells the end between messages by false, within one by an error', async (t) => {
  const { channel, peer } = await channelPair(t)
  const io = new AsyncChannel(channel)
  const memory = Memory.allocate(100)
  peer.end('0123456789')
  t.equal(await io.readAllEof(memory, 0, 5), true)
  await t.rejects(io.readAllEof(memory, 0, 6), { kind: 'transport', message: /after 5 of 6 bytes/ })
  t.equal(await io.readAllEof(memory, 0, 1), false)
  t.equal(await io.readAllEof(memory, 0, 1), false, 'again')
  await t.rejects(io.readAll(memory, 0, 1), { kind: 'transport', message: /closed/ })
  t.equal(await io.receive(), 0)
})

void t.test('readAllEof - a reset is an error, or the end, and not a hang', async (t) => {
  const { channel, peer } = await (await PairMaker.listen(t, 'tcp')).make(t)
  const io = new AsyncChannel(channel)
  const read = io.readAllEof(Memory.allocate(10), 0, 10)
  peer.resetAndDestroy()
  await t.rejects(within('the reset', read), { kind: 'transport', message: /./ })
})

void t.test('receive - brings bytes behind those that were not consumed', async (t) => {
  const { channel, peer } = await channelPair(t)
  const io = new AsyncChannel(channel)
  const window = receiveWindow()
  const all = pattern(1000)
  let consumed = 0
  for (let at = 0; at < all.length; at += 50) {
    peer.write(all.subarray(at, at + 50))
    t.equal(await io.receive(), 50)
    // Something always stays behind.
    while (window.length > 28) {
      const bytes = window.memory.buffer.subarray(window.start, window.start + 28)
      if (!bytes.equals(all.subarray(consumed, consumed + 28))) t.fail(`at ${consumed}`)
      window.start += 28
      consumed += 28
    }
  }
  t.equal(window.length, all.length - consumed)
  io.unread()
  t.equal(window.length, 0)
  const memory = Memory.allocate(100)
  t.equal(io.readNow(memory, 0, 100), all.length - consumed)
  t.ok(memory.buffer.subarray(0, all.length - consumed).equals(all.subarray(consumed)))
})

void t.test('receive - a long stream arrives whole, whatever is left unconsumed', async (t) => {
  const { channel, peer } = await channelPair(t)
  const io = new AsyncChannel(channel)
  const window = receiveWindow()
  const all = pattern(20 * WINDOW_SIZE)
  peer.write(all)
  let consumed = 0
  for (let round = 0; consumed < all.length; round++) {
    if ((await io.receive()) === 0) throw new Error('the stream ended')
    // In most rounds a part of the last message stays behind.
    const keep = round % 3 === 0 ? 0 : Math.min(27, window.length - 1)
    const taken = window.memory.buffer.subarray(window.start, window.end - keep)
    if (!taken.equals(all.subarray(consumed, consumed + taken.length))) t.fail(`at ${consumed}`)
    window.start += taken.length
    consumed += taken.length
    if (round % 5 === 0) io.unread()
  }
  t.equal(consumed, all.length)
})

void t.test(
  'receive - at the end, the bytes of half a message are in the way of no other channel',
  async (t) => {
    const maker = await PairMaker.listen(t)
    const window = receiveWindow()
    const ends: [string, (pair: ChannelPair, io: AsyncChannel) => unknown][] = [
      ['end of the stream', ({ peer }) => peer.end()],
      ['endReading', (_pair, io) => io.reader.endReading()],
      ['shutdown', ({ channel }) => channel.shutdown('both')],
      ['close', ({ channel }) => channel.close()]
    ]
    // When the last receive has filled the window, the next one does not wait.
    for (const sent of [10, WINDOW_SIZE]) {
      for (const [name, end] of ends) {
        const pair = await maker.make(t)
        const io = new AsyncChannel(pair.channel)
        pair.peer.write(Buffer.alloc(sent, 'x'))
        while (window.length < sent) await io.receive()
        window.start += 5
        await end(pair, io)
        const n = await within(name, io.receive()).catch((error: unknown) => error)
        if (n !== 0) t.match(n, { kind: 'transport', message: /closed/ }, name)
        t.equal(window.length, 0, `${name} behind ${sent} bytes`)
      }
    }
    t.equal(window.length, 0)
  }
)

void t.test('unread - gives bytes to the next reader first, of whichever kind', async (t) => {
  const { channel, peer } = await channelPair(t)
  const io = new AsyncChannel(channel)
  const window = receiveWindow()
  const memory = Memory.allocate(100)
  peer.write('0123456789')
  t.equal(await io.receive(), 10)
  window.start += 2
  io.unread()
  t.equal(io.readNow(memory, 0, 3), 3)
  t.equal(text(memory, 3), '234')
  t.equal(await io.receive(), 5, 'at once')
  t.equal(window.memory.buffer.toString('latin1', window.start, window.end), '56789')
  window.start += 1
  io.unread()
  io.unread()
  peer.write('abc')
  t.equal(await io.readAllEof(memory, 0, 7), true)
  t.equal(text(memory, 7), '6789abc')
})

void t.test(
  'channel - bytes that come while nobody reads are there for the next reader, in order',
  async (t) => {
    for (const length of [10, WINDOW_SIZE, 3 * WINDOW_SIZE + 5]) {
      const { channel, peer } = await channelPair(t)
      const io = new AsyncChannel(channel)
      const all = pattern(length)
      peer.write(all.subarray(0, 5))
      await rounds()
      peer.end(all.subarray(5))
      await rounds()
      const memory = Memory.allocate(length)
      t.equal(await io.readAllEof(memory, 0, length), true, `${length} bytes`)
      t.ok(memory.buffer.subarray(0, length).equals(all))
      t.equal(await io.readAllEof(memory, 0, 1), false)
    }
  }
)

void t.test("channel - two of one thread do not get each other's bytes", async (t) => {
  const maker = await PairMaker.listen(t)
  const pairs = [await maker.make(t), await maker.make(t), await maker.make(t)]
  const window = receiveWindow()
  await Promise.all(
    pairs.map(async ({ channel, peer }, i) => {
      for (let round = 0; round < 200; round++) peer.write(Buffer.alloc(997, i + 1))
      const io = new AsyncChannel(channel)
      for (let missing = 200 * 997; missing > 0;) {
        missing -= await io.receive()
        const bytes = window.memory.buffer.subarray(window.start, window.end)
        if (bytes.some((byte) => byte !== i + 1)) t.fail('bytes of another channel')
        window.clear()
      }
    })
  )
  t.equal(window.length, 0)
})

for (const [what, end] of [
  ['endReading', (_channel: QIOChannelSocket, io: AsyncChannel) => io.reader.endReading()],
  ['shutdown', (channel: QIOChannelSocket) => channel.shutdown('both')]
] as const) {
  void t.test(
    `${what} - wakes a reader of each kind with the end of the stream, and the next one`,
    async (t) => {
      const maker = await PairMaker.listen(t)
      const memory = Memory.allocate(10)
      for (const read of [
        (io: AsyncChannel) => io.readAllEof(memory, 0, 10),
        (io: AsyncChannel) => io.receive().then((n) => n > 0)
      ]) {
        const { channel } = await maker.make(t)
        const io = new AsyncChannel(channel)
        const reading = read(io)
        await rounds()
        end(channel, io)
        t.equal(await within('the reader', reading), false)
        t.equal(await within('the next reader', read(io)), false)
      }
    }
  )
}

void t.test('endReading - leaves the way out open', async (t) => {
  const { channel, peer } = await channelPair(t)
  const io = new AsyncChannel(channel)
  io.reader.endReading()
  await io.writeAll(Buffer.from('reply'))
  const received: Buffer[] = []
  peer.on('data', (bytes) => received.push(bytes))
  await channel.close()
  await waitFor('the reply', () => Buffer.concat(received).toString() === 'reply')
})

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

void t.test('discard - drops exactly so many bytes', async (t) => {
  const { channel, peer } = await channelPair(t)
  const io = new AsyncChannel(channel)
  const memory = Memory.allocate(10)
  peer.write(Buffer.concat([Buffer.alloc(300_000), Buffer.from('next')]))
  await io.discard(0)
  await io.discard(300_000)
  await io.readAll(memory, 0, 4)
  t.equal(text(memory, 4), 'next')
})

void t.test('channel - two coroutines that read it are a bug', async (t) => {
  const { channel, peer } = await channelPair(t)
  const io = new AsyncChannel(channel)
  const memory = Memory.allocate(10)
  const first = io.readAllEof(memory, 0, 1)
  await t.rejects(io.readAllEof(memory, 1, 1), { kind: 'bug', message: /two coroutines/ })
  peer.write('x')
  t.equal(await first, true)
})

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

void t.test('detach - hands on the connection, and what nobody has read', async (t) => {
  const { channel, peer } = await channelPair(t)
  const memory = Memory.allocate(10)
  const read = new AsyncChannel(channel).readAllEof(memory, 0, 4)
  peer.write('0123456789')
  t.equal(await read, true)
  const { fd, unread } = channel.detach()
  t.equal(unread.toString(), '456789')
  await within('the close', channel.close())
  const piece = [{ memory, start: 0, end: 1 }]
  const closed = { kind: 'transport', message: /the channel is closed/ }
  t.throws(() => channel.writev(piece), closed)
  t.throws(() => channel.readv(piece), closed)

  const next = new QIOChannelSocket(fd)
  const io = new AsyncChannel(next)
  await io.writeAll(Buffer.from('on'))
  const [bytes] = (await within('its bytes', once(peer, 'data'))) as [Buffer]
  t.equal(bytes.toString(), 'on')
  peer.write('back')
  t.equal(await io.readAllEof(memory, 0, 4), true)
  t.equal(text(memory, 4), 'back')
  await next.close()
})

void t.test('channel - 1,000 of them leave no descriptor behind, however they end', async (t) => {
  const maker = await PairMaker.listen(t)
  const sockets = (): number =>
    openDescriptors(process.pid).filter((target) => target.startsWith('socket:')).length
  const before = sockets()
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
  await waitFor('the sockets to be closed', () => sockets() <= before)
  t.pass()
})
