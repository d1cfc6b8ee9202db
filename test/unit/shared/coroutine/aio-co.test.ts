/** Waking coroutines by their handles. */
import t from 'tap'
import { AioContext } from '../../../../shared/aio/aio-context.ts'
import type { AioContextHandle } from '../../../../shared/aio/context-table.ts'
import {
  aioCoEnter,
  aioCoRescheduleSelf,
  aioCoSchedule,
  aioCoWake
} from '../../../../shared/coroutine/aio-co.ts'
import { Coroutine, type CoroutineFn, type CoroutineHandle } from '../../../../shared/coroutine/coroutine.ts'
import { NBDError } from '../../../../shared/errors/nbd-error.ts'
import type { EntryPoint } from '../../../../shared/aio/entry-point.ts'
import { startThreads } from '../../../helpers/iothreads.ts'
import { waitFor } from '../../../helpers/wait-for.ts'
import { ATOMIC } from './tasks.ts'

const MAKE_SLEEPER: EntryPoint<
  { memory: SharedArrayBuffer; entries: number },
  { context: AioContextHandle; handle: CoroutineHandle }
> = { module: new URL('./tasks.js', import.meta.url).href, name: 'makeSleeper' }

const ctx = AioContext.current()

void t.test('handles - wake, enter and schedule a coroutine of this thread', async (t) => {
  let entries = 0
  const co = Coroutine.create(function* (): CoroutineFn {
    for (; entries < 4; entries++) yield* Coroutine.yield()
  })
  const { handle } = co
  co.enter()
  aioCoWake(handle)
  t.equal(entries, 1, 'at once')
  aioCoEnter(ctx.handle, handle)
  t.equal(entries, 2, 'at once')
  aioCoSchedule(ctx.handle, handle)
  t.equal(entries, 2)
  t.equal(await ctx.poll(true), true)
  t.equal(entries, 3, 'in the next round')
  Coroutine.create(function* (): CoroutineFn {
    aioCoWake(handle)
    t.equal(entries, 3, 'when its waker has yielded')
  }).enter()
  t.equal(entries, 4)
  t.equal(co.ended, true)
  aioCoWake(handle)
  aioCoSchedule(ctx.handle, handle)
  while (await ctx.poll(false));
  t.equal(entries, 4, 'one that has ended is woken in vain')
})

void t.test('handles - wake, enter and schedule a coroutine of another thread, there', async (t) => {
  const [thread] = await startThreads(t, 1)
  const memory = new SharedArrayBuffer(256)
  const words = new Int32Array(memory)
  const { context, handle } = await thread!.run(MAKE_SLEEPER, { memory, entries: 3 })
  const wakes = [
    () => aioCoWake(handle),
    () => aioCoEnter(context, handle),
    () => aioCoSchedule(context, handle)
  ]
  for (const [i, wake] of wakes.entries()) {
    t.equal(Atomics.load(words, ATOMIC), i)
    wake()
    await waitFor(`entry ${i + 1}`, () => Atomics.load(words, ATOMIC) === i + 1)
  }
  aioCoWake(handle)
  aioCoSchedule(context, handle)
  const next = await thread!.run(MAKE_SLEEPER, { memory, entries: 1 })
  aioCoWake(next.handle)
  await waitFor('the next', () => Atomics.load(words, ATOMIC) === 4)
})

void t.test('handles - another context than the own is refused, by handle and by object', async (t) => {
  const [thread] = await startThreads(t, 1)
  const memory = new SharedArrayBuffer(256)
  const { context, handle } = await thread!.run(MAKE_SLEEPER, { memory, entries: 1 })
  const co = Coroutine.create(function* (): CoroutineFn {
    t.throws(() => aioCoRescheduleSelf({} as AioContext), NBDError)
    aioCoRescheduleSelf(ctx)
    yield* Coroutine.yield()
  })
  t.throws(() => aioCoRescheduleSelf(ctx), NBDError, 'outside a coroutine')
  co.enter()
  for (const wake of [aioCoEnter, aioCoSchedule]) {
    t.throws(() => wake(ctx.handle, handle), NBDError)
    t.throws(() => wake(ctx, handle), NBDError)
    t.throws(() => wake(context, co), NBDError)
    t.throws(() => wake(context, co.handle), NBDError)
  }
  t.equal(co.ended, false)
  t.equal(new Int32Array(memory)[ATOMIC], 0)
  co.enter()
})
