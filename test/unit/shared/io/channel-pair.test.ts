import t, { type Test } from 'tap'
import { Coroutine, type CoroutineFn } from '../../../../shared/coroutine/coroutine.ts'
import { QIOChannelPair } from '../../../../shared/io/channel-pair.ts'
import { QIO_CHANNEL_ERR_BLOCK } from '../../../../shared/io/channel.ts'
import { within } from '../../../helpers/wait-for.ts'
import { equalBytes, fillPattern, iovecs } from './channel-validator.ts'

/** Lets each end write and read at the same time. */
async function bothWays(t: Test, a: QIOChannelPair, b: QIOChannelPair): Promise<void> {
  await within(
    'the transfer',
    Promise.all(
      [a, b].flatMap((channel, i) => {
        const written = iovecs(20, 4194)
        fillPattern(written, i)
        const expected = iovecs(20, 4194)
        fillPattern(expected, 1 - i)
        return [
          Coroutine.start(() => channel.writevAll(written)),
          Coroutine.start(function* (): CoroutineFn {
            const read = iovecs(20, 4194)
            yield* channel.readvAll(read)
            t.ok(equalBytes(read, expected))
          })
        ]
      })
    )
  )
}

void t.test('pair: ends of one thread wake each other without the loop', async (t) => {
  const [a, b] = QIOChannelPair.create(1)
  const order: string[] = []
  void Coroutine.start(function* (): CoroutineFn {
    yield* b.readvAll(iovecs(1, 3))
    order.push('read')
  })
  void Coroutine.start(function* (): CoroutineFn {
    yield* a.writevAll(iovecs(1, 3))
    order.push('written')
  })
  t.same(order.sort(), ['read', 'written'])
})

void t.test('pair: holds as much as it was made for, whatever it held before', async (t) => {
  for (const capacity of [16, 4096]) {
    const [a, b] = QIOChannelPair.create(capacity)
    await bothWays(t, a, b)
    t.equal(a.writev(iovecs(1, capacity + 1)), capacity)
    t.equal(a.writev(iovecs(1, 1)), QIO_CHANNEL_ERR_BLOCK)
    t.equal(a.writev(iovecs(1, 0)), 0)
    t.equal(b.writev(iovecs(2, capacity)), capacity, 'the other way is another way')
    t.equal(b.readv(iovecs(3, capacity)), capacity)
    t.equal(b.readv(iovecs(1, 1)), QIO_CHANNEL_ERR_BLOCK)
  }
  for (const capacity of [0, 3, 2 ** 31, 1.5]) {
    t.throws(() => QIOChannelPair.create(capacity), { kind: 'bug', message: /power of two/ })
  }
})

void t.test('pair: positions wrap at 2^32', async (t) => {
  const [a, b] = QIOChannelPair.create(1024)
  // Both sides have come to 100 bytes before the wrap, in both directions.
  const words = new Int32Array(a.handle.memory, 0, 16)
  for (const position of [0, 1, 8, 9]) words[position] = -100
  await bothWays(t, a, b)
})

void t.test('pair: an end that is given away while somebody waits', async (t) => {
  const [a, b] = QIOChannelPair.create()
  const reading = Coroutine.start(() => a.readvAll(iovecs(1, 10)))
  const other = QIOChannelPair.open(b.handle)
  await Coroutine.start(() => other.writevAll(iovecs(1, 10)))
  await within('the reader', reading)
  t.pass()
})

void t.test('pair: two coroutines that wait for the same are a bug, also through two views', async (t) => {
  const [a] = QIOChannelPair.create()
  const views = [QIOChannelPair.open(a.handle), QIOChannelPair.open(a.handle)]
  const first = Coroutine.start(() => views[0]!.yield('in'))
  await t.rejects(
    Coroutine.start(() => views[1]!.yield('in')),
    { kind: 'bug', message: /two coroutines/ }
  )
  views[1]!.wakeRead()
  await within('the first', first)
})

void t.test('pair: what each end sees of a shutdown', async (t) => {
  const [a, b] = QIOChannelPair.create()
  const iov = iovecs(1, 10)
  t.equal(a.writev(iov), 10)
  a.shutdown('write')
  t.throws(() => a.writev(iov), { kind: 'transport', message: /shut down/ })
  t.equal(b.readv(iov), 10, 'what was written before')
  t.equal(b.readv(iov), 0)
  t.equal(b.writev(iov), 10, 'the other direction goes on')
  a.shutdown('read')
  t.equal(a.readv(iov), 0)
  t.throws(() => b.writev(iov), { kind: 'transport', message: /reads no more/ })
})

void t.test('pair: an end that is given up goes on where it is opened next', async (t) => {
  const [a, b] = QIOChannelPair.create(64)
  const written = iovecs(1, 10)
  fillPattern(written, 1)
  t.equal(a.writev(written), 10)
  const handle = b.detach()
  t.throws(() => b.readv(iovecs(1, 1)), { kind: 'transport', message: /the channel is closed/ })
  await b.close()
  const opened = QIOChannelPair.open(handle)
  const read = iovecs(1, 10)
  t.equal(opened.readv(read), 10)
  t.ok(equalBytes(read, written))
  await bothWays(t, a, opened)
  await opened.close()
  t.equal(a.readv(iovecs(1, 1)), 0, 'only the new one ends it')
})
