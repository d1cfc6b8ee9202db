/** What channels of all kinds have in common. */
import * as os from 'node:os'
import t, { type Test } from 'tap'
import { coAwait } from '../../../../shared/coroutine/aio-co.ts'
import { Coroutine, type CoroutineFn } from '../../../../shared/coroutine/coroutine.ts'
import { QIO_CHANNEL_ERR_BLOCK, type QIOChannel } from '../../../../shared/io/channel.ts'
import { IOThread } from '../../../../shared/iothread/io-thread.ts'
import { openDescriptors } from '../../../helpers/proc.ts'
import { requires } from '../../../helpers/requires.ts'
import { waitFor, within } from '../../../helpers/wait-for.ts'
import { rounds } from './channel-bytes.ts'
import { kinds, type End, type KindName } from './channel-kinds.ts'
import { equalBytes, fillPattern, iovecs, runConnection } from './channel-validator.ts'

/** The kinds, under the numbers of QEMU's tests where it has one for them. */
const checklist: Record<KindName, string> = {
  buffer: 'I1 buffer',
  file: 'I4 file/rdwr',
  pipe: 'I8 pipe async',
  fifo: 'fifo',
  'command fifo': 'I9 command fifo async',
  'command echo': 'I10 command echo async',
  'socket ipv4': 'I11 socket ipv4 async',
  'socket ipv6': 'I12 socket ipv6 async',
  'socket unix': 'I13 socket unix async',
  pair: 'pair',
  websock: 'websock',
  stream: 'stream',
  tls: 'I17 tls/basic',
  'node:tls': 'I17 tls/basic by node:tls'
}
const names = (Object.keys(checklist) as KindName[]).filter(
  (name) => !name.endsWith('tls') || requires('certtool').skip === undefined
)

/** Why a kind cannot be tested here. */
const skipped = (name: KindName): { skip?: string } =>
  name === 'socket ipv6' && !hasIpv6 ? { skip: 'this machine has no IPv6' } : {}
const hasIpv6 = Object.values(os.networkInterfaces()).some((all) =>
  all?.some(({ address }) => address === '::1')
)

/** The kinds that keep what is written, and never wait. */
const stored = (ends: End<unknown>[]): boolean => ends[0]!.role === 'write, then read'

async function openAll(t: Test, name: KindName): Promise<{ channels: QIOChannel[]; ends: End<unknown>[] }> {
  const ends = await kinds[name].connect(t)
  const channels = await Promise.all(ends.map(({ handle }) => kinds[name].open(handle)))
  t.teardown(async () => {
    for (const channel of channels) channel.shutdown('both')
    await Promise.all(channels.map((channel) => channel.close()))
  })
  return { channels, ends }
}

for (const name of names) {
  const line = checklist[name]

  void t.test(`${line}: what is written arrives whole`, skipped(name), async (t) => {
    const ends = await kinds[name].connect(t)
    const transfers = await within('the transfer', runConnection(name, ends))
    // Otherwise this has not seen what happens then.
    if (!stored(ends)) for (const { partial } of transfers) t.ok(partial > 0, `${partial} were partial`)
    t.pass()
  })

  void t.test(`${line}: yield, wakeRead, shutdown and close`, skipped(name), async (t) => {
    const { channels, ends } = await openAll(t, name)
    const reading = ends.findIndex(({ role }) => role !== 'write')
    const channel = channels[reading]!
    const iov = iovecs(1, 10)
    // A coroutine goes on as soon as there is a reason, and not before.
    let resumed = 0
    const reader = Coroutine.create(function* (): CoroutineFn {
      for (let i = 0; i < 2; i++) {
        yield* channel.yield('in')
        resumed++
      }
    })
    reader.enter()
    if (!stored(ends)) {
      t.equal(channel.readv(iov), QIO_CHANNEL_ERR_BLOCK)
      await rounds()
      t.equal(resumed, 0)
      await t.rejects(
        Coroutine.start(() => channel.yield('in')),
        { kind: 'bug', message: /two coroutines/ }
      )
      channel.wakeRead()
      await waitFor('wakeRead', () => resumed === 1)
      await rounds()
      t.equal(resumed, 1)
      channel.shutdown('read')
    }
    await within('the reader', reader.finished)
    if (stored(ends)) channel.shutdown('read')
    t.equal(channel.readv(iov), 0, 'the end of the stream')
    const writer = channels[0]!
    writer.shutdown('write')
    t.throws(() => writer.writev(iov), { kind: 'transport', message: /closed|shut down/ })
    await within('the close', channel.close())
    await within('the second close', channel.close())
    const closed = { kind: 'transport', message: /the channel is closed/ }
    t.throws(() => channel.readv(iov), closed)
    t.throws(() => channel.writev(iov), closed)
    t.throws(() => channel.yield('in').next(), { kind: 'bug', message: /outside a coroutine/ })
  })

  void t.test(`${line}: leaves no descriptor`, skipped(name), async (t) => {
    const transfer = async (): Promise<unknown> =>
      within('the transfer', runConnection(name, await kinds[name].connect(t)))
    await transfer()
    const before = openDescriptors(process.pid).length
    for (let i = 0; i < 2; i++) await transfer()
    await waitFor('the descriptors to be closed', () => openDescriptors(process.pid).length <= before)
    t.pass()
  })
}

for (const [line, name] of [
  ['pair', 'pair'],
  ['websock', 'websock'],
  ['I11 socket ipv4 sync', 'socket ipv4'],
  ['I12 socket ipv6 sync', 'socket ipv6'],
  ['I13 socket unix sync', 'socket unix'],
  // There is no blocking mode; QEMU's second thread is what is left of it.
  ['I7 pipe sync', 'pipe'],
  ['I9 command fifo sync', 'command fifo'],
  ['I10 command echo sync', 'command echo']
] as const) {
  void t.test(`${line}: what is written in another thread arrives whole`, skipped(name), async (t) => {
    const thread = await IOThread.start('io0')
    t.teardown(() => thread.stop())
    for (let i = 0; i < 2; i++) {
      const ends = await kinds[name].connect(t)
      await within('the transfer', runConnection(name, ends, [thread]))
    }
    t.pass()
  })
}

void t.test('channels: the end of the stream comes behind what was written', async (t) => {
  for (const name of [
    'pair',
    'websock',
    'stream',
    'socket ipv4',
    'socket unix',
    'pipe',
    'fifo',
    'command fifo',
    'command echo'
  ] as const) {
    const { channels } = await openAll(t, name)
    const writer = channels[0]!
    const reader = channels.at(-1)!
    // More than fits, so that the last of it is on its way when the writer ends.
    const written = iovecs(100)
    fillPattern(written, 7)
    const read = iovecs(100)
    await within(
      name,
      Promise.all([
        Coroutine.start(function* (): CoroutineFn {
          yield* writer.writevAll(written)
          writer.shutdown('write')
          if (writer !== reader) yield* coAwait(writer.close())
        }),
        Coroutine.start(function* (): CoroutineFn {
          yield* reader.readvAll(read)
          t.equal(yield* reader.readvAllEof(iovecs(1, 1)), false)
          t.equal(yield* reader.readvAllEof(iovecs(1, 1)), false, 'again')
        })
      ])
    )
    t.ok(equalBytes(read, written), name)
  }
})

void t.test('channels: a writer that waits fails when the reader is gone', async (t) => {
  for (const name of ['pair', 'websock', 'stream', 'socket unix', 'pipe', 'fifo'] as const) {
    const { channels } = await openAll(t, name)
    const writing = Coroutine.start(() => channels[0]!.writevAll(iovecs()))
    await rounds()
    const failed = t.rejects(within(name, writing), { kind: 'transport', message: /./ }, name)
    await Promise.all([failed, channels.at(-1)!.close()])
  }
})

for (const end of ['shutdown', 'close'] as const) {
  void t.test(`channels: ${end} wakes a writer that waits`, async (t) => {
    for (const name of ['pair', 'websock', 'stream', 'socket ipv4', 'socket unix', 'pipe', 'fifo'] as const) {
      const { channels } = await openAll(t, name)
      const writing = Coroutine.start(() => channels[0]!.writevAll(iovecs()))
      await rounds()
      const closed = end === 'close' ? channels[0]!.close() : channels[0]!.shutdown('both')
      await t.rejects(
        within(name, writing),
        { kind: 'transport', message: end === 'close' ? /the channel is closed/ : /closed|shut down/ },
        name
      )
      channels.at(-1)!.shutdown('both')
      await within('the close', Promise.resolve(closed))
    }
  })
}

void t.test('channels: close wakes a reader that waits, and fails it or shows it the end', async (t) => {
  for (const name of [
    'pair',
    'websock',
    'stream',
    'socket ipv4',
    'socket unix',
    'pipe',
    'fifo',
    'command echo'
  ] as const) {
    const { channels } = await openAll(t, name)
    const reading = Coroutine.start(() => channels.at(-1)!.readvAllEof(iovecs(1)))
    await rounds()
    const closed = channels.at(-1)!.close()
    const outcome = await within(
      name,
      reading.catch((error: unknown) => error)
    )
    if (outcome !== false) t.match(outcome, { kind: 'transport', message: /the channel is closed/ }, name)
    await within('the close', closed)
  }
})

void t.test('channels: what was taken before shutdown and close still arrives', async (t) => {
  for (const name of ['pair', 'websock', 'stream', 'socket ipv4', 'socket unix', 'pipe', 'fifo'] as const) {
    for (const end of ['shutdown', 'close'] as const) {
      const { channels } = await openAll(t, name)
      const writer = channels[0]!
      const reader = channels.at(-1)!
      const written = iovecs(1, 1 << 20)
      fillPattern(written, 3)
      // Until it is full, so that the last piece is still on its way.
      let taken = 0
      for (let n = 0; n !== QIO_CHANNEL_ERR_BLOCK; taken += Math.max(n, 0)) {
        n = writer.writev([{ ...written[0]!, start: taken }])
      }
      const closed = end === 'close' ? writer.close() : writer.shutdown('write')
      const read = iovecs(1, taken)
      await within(
        `${name}, ${end}`,
        Coroutine.start(() => reader.readvAll(read))
      )
      t.ok(equalBytes(read, [{ ...written[0]!, end: taken }]), `${name}, ${end}: ${taken} bytes`)
      if (name !== 'websock' || end === 'shutdown') {
        t.equal(
          await within(
            'the end',
            Coroutine.start(() => reader.readvAllEof(iovecs(1, 1)))
          ),
          false,
          name
        )
      }
      await within('the close', Promise.resolve(closed))
    }
  }
})
