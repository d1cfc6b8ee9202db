import t, { type Test } from 'tap'
import { AioContext } from '../../../../shared/aio/aio-context.ts'
import { Coroutine, type CoroutineFn } from '../../../../shared/coroutine/coroutine.ts'
import { QIO_CHANNEL_ERR_BLOCK, type QIOChannel } from '../../../../shared/io/channel.ts'
import { QIOChannelSocket } from '../../../../shared/io/channel-socket.ts'
import { receiveWindow, WINDOW_SIZE } from '../../../../shared/io/receive-window.ts'
import { WOKEN } from '../../../../shared/io/window-reader.ts'
import { Memory } from '../../../../shared/syscall/memory.ts'
import { channelPair, PairMaker, type ChannelPair } from '../../../helpers/raw-pair.ts'
import { waitFor, within } from '../../../helpers/wait-for.ts'
import { AsyncChannel } from './async-channel.ts'
import { pattern, rounds } from './channel-bytes.ts'

function* turn(): CoroutineFn {
  const co = Coroutine.current!
  // Not by the context, which would have work meanwhile.
  setImmediate(() => co.enter())
  yield* Coroutine.yield()
}

const text = (memory: Memory, length: number): string => memory.buffer.toString('latin1', 0, length)

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

void t.test('readAllEof - what is behind stays in the socket', async (t) => {
  const { channel, peer } = await channelPair(t)
  const io = new AsyncChannel(channel)
  const memory = Memory.allocate(20)
  const read = io.readAllEof(memory, 0, 10)
  peer.write('0')
  await waitFor('the first byte', () => memory.buffer[0] === 0x30)
  peer.write('123456789rest')
  t.equal(await read, true)
  t.equal(channel.takeReceived().length, 0, 'nothing was set aside')
  t.equal(io.readNow(memory, 10, 20), 4)
  t.equal(text(memory, 14), '0123456789rest')
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

/** Brings a byte at every second look; and the thread looks for long. @param onWait called when it has slept */
function trickle(t: Test, onWait: () => void): AsyncChannel {
  const { polling } = AioContext.current()
  const before = polling.options
  t.teardown(() => (polling.options = before))
  polling.options = { pollMaxNs: 1e9, pollGrow: 1e6, pollShrink: 0 }
  let looks = 0
  return new AsyncChannel({
    features: new Set(['poll']),
    readv: () => (looks++ % 2 === 0 ? QIO_CHANNEL_ERR_BLOCK : 1),
    limitWait: () => undefined,
    *yield(): CoroutineFn {
      onWait()
      yield* turn()
    }
  } as unknown as QIOChannel)
}

void t.test('readAllEof - a message that trickles in does not keep the thread for long', async (t) => {
  let waits = 0
  const io = trickle(t, () => waits++)
  const memory = Memory.allocate(50_000)
  // Whoever loses the processor between two looks does not go on: until none did.
  do {
    // Looking grows after waits that were short.
    for (let i = 0; i < 10; i++) await io.readAllEof(memory, 0, 1)
    waits = 0
    t.equal(await io.readAllEof(memory, 0, memory.length), true)
    if (waits === 0) t.fail('the thread did nothing else')
  } while (waits === memory.length)
})

void t.test('fill - brings what is about to come, for a short time', async (t) => {
  const io = trickle(t, () => undefined)
  const window = receiveWindow()
  const memory = Memory.allocate(10)
  // Whoever loses the processor between two looks does not look for a while: until that did not happen.
  do {
    window.clear()
    for (let i = 0; i < 10; i++) await io.readAllEof(memory, 0, 1)
  } while (!io.reader.fill(100))
  t.equal(window.length, 100)
  window.clear()
  t.equal(io.reader.fill(WINDOW_SIZE), false, 'not one that trickles in')
  t.ok(window.length < WINDOW_SIZE)
  window.clear()
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

void t.test('expectLarge - the next receive brings the beginning, those after it all', async (t) => {
  const { channel, peer } = await channelPair(t)
  const io = new AsyncChannel(channel)
  const window = receiveWindow()
  const bytes = pattern(20_000)
  // What has come before shows that it is there.
  peer.write(Buffer.concat([Buffer.from('!'), bytes]))
  const memory = Memory.allocate(1)
  await io.readAllEof(memory, 0, 1)
  io.reader.expectLarge()
  t.equal(io.reader.hasMore, true)
  const beginning = await io.receive()
  t.ok(beginning > 0 && beginning <= 4096, `${beginning} bytes`)
  while (window.length < bytes.length) await io.receive()
  t.ok(window.memory.buffer.subarray(window.start, window.end).equals(bytes))
  window.clear()
})

void t.test('receiveNow - brings first what was given back', async (t) => {
  const { channel, peer } = await channelPair(t)
  const io = new AsyncChannel(channel)
  const window = receiveWindow()
  peer.write('first')
  await io.receive()
  io.unread()
  peer.write('second')
  const received = (): string => window.memory.buffer.toString('latin1', window.start, window.end)
  t.equal(io.reader.receiveNow(), 5)
  t.equal(received(), 'first')
  await waitFor('what came behind it', () => io.reader.receiveNow() !== WOKEN)
  t.equal(received(), 'firstsecond')
  window.clear()
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
