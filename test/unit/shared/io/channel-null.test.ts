import t from 'tap'
import { Coroutine, type CoroutineFn } from '../../../../shared/coroutine/coroutine.ts'
import { QIOChannelNull } from '../../../../shared/io/channel-null.ts'
import { within } from '../../../helpers/wait-for.ts'
import { equalBytes, iovecs } from './channel-validator.ts'

void t.test('I2 null: writes are swallowed, and reads are at the end of the stream', async (t) => {
  const channel = new QIOChannelNull()
  const iov = iovecs(3, 1000)
  t.equal(channel.writev(iov), 3000)
  t.equal(channel.readv(iov), 0)
  t.ok(equalBytes(iov, iovecs(3, 1000)), 'nothing is touched')
  const fired: string[] = []
  const watch = (condition: 'in' | 'out'): Promise<void> =>
    Coroutine.start(function* (): CoroutineFn {
      yield* channel.yield(condition)
      fired.push(condition)
    })
  await within('in', watch('in'))
  t.same(fired, ['in'])
  const both = Promise.all([watch('in'), watch('out')])
  t.same(fired, ['in'], 'not before the loop has turned')
  await within('in and out', both)
  t.same(fired, ['in', 'in', 'out'])
  await Coroutine.start(function* (): CoroutineFn {
    yield* channel.writevAll(iov)
    t.equal(yield* channel.readvAllEof(iov), false)
  })
  await channel.close()
  t.throws(() => channel.writev(iov), { kind: 'transport', message: /closed/ })
  t.throws(() => channel.readv(iov), { kind: 'transport', message: /closed/ })
})

void t.test('null: shutdown ends writing', async (t) => {
  const channel = new QIOChannelNull()
  channel.shutdown('write')
  t.throws(() => channel.writev(iovecs(1, 10)), { kind: 'transport', message: /shut down/ })
  t.equal(channel.readv(iovecs(1, 10)), 0)
})
