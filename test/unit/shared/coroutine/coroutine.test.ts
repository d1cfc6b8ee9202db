/** test-coroutine.c's cases of coroutines, and A13 and A14 of test-aio.c. */
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { AioContext } from '../../../../shared/aio/aio-context.ts'
import { aioCoSchedule, aioCoWake, coAwait } from '../../../../shared/coroutine/aio-co.ts'
import { Coroutine, type CoroutineFn } from '../../../../shared/coroutine/coroutine.ts'
import { NBDError } from '../../../../shared/errors/nbd-error.ts'
import { inThread } from '../../../helpers/thread.ts'

const ctx = AioContext.current()

void t.test('C1 lifecycle - entering runs it to its end; a second one is not affected', async (t) => {
  for (let i = 0; i < 2; i++) {
    let done = false
    const co = Coroutine.create(function* (): CoroutineFn {
      done = true
    })
    t.equal(done, false)
    co.enter()
    t.equal(done, true)
    t.equal(co.ended, true)
    await co.finished
  }
})

void t.test('C2 yield - five yields need five more entries', async (t) => {
  let steps = 0
  const co = Coroutine.create(function* (): CoroutineFn {
    for (let i = 0; i < 5; i++) {
      yield* Coroutine.yield()
      steps++
    }
  })
  let entries = 0
  for (; !co.ended; entries++) co.enter()
  t.equal(steps, 5)
  t.equal(entries, 6)
})

void t.test('C3 nesting - 128 levels enter and return', async (t) => {
  let entered = 0
  let returned = 0
  const level = (depth: number): Coroutine =>
    Coroutine.create(function* (): CoroutineFn {
      entered++
      if (depth < 128) level(depth + 1).enter()
      returned++
    })
  level(1).enter()
  t.equal(entered, 128)
  t.equal(returned, 128)
})

void t.test(
  'C4 self - inside, the current coroutine is the created one, in nested functions too',
  async (t) => {
    const seen: unknown[] = []
    function* nested(): CoroutineFn {
      seen.push(Coroutine.current)
      yield* Coroutine.yield()
      seen.push(Coroutine.current)
    }
    const co = Coroutine.create(function* (): CoroutineFn {
      seen.push(Coroutine.current)
      yield* nested()
      seen.push(Coroutine.current)
    })
    co.enter()
    co.enter()
    t.equal(seen.length, 4)
    t.ok(seen.every((self) => self === co))
    t.equal(co.ctx, ctx)
  }
)

void t.test('C5 entered - of itself and of the one that entered it', async (t) => {
  const inner: Coroutine = Coroutine.create(function* (): CoroutineFn {
    t.equal(inner.entered, true)
    t.equal(outer.entered, true)
    yield* Coroutine.yield()
    t.equal(inner.entered, true)
    t.equal(outer.entered, false)
  })
  const outer: Coroutine = Coroutine.create(function* (): CoroutineFn {
    t.equal(outer.entered, true)
    t.equal(inner.entered, false)
    inner.enter()
    t.equal(inner.entered, false)
    yield* Coroutine.yield()
  })
  t.equal(outer.entered, false)
  outer.enter()
  t.equal(outer.entered, false)
  inner.enter()
  t.equal(inner.ended, true)
  outer.enter()
  t.equal(outer.ended, true)
})

void t.test('C6 in_coroutine - only inside', async (t) => {
  t.equal(Coroutine.current, undefined)
  let inside: unknown
  Coroutine.create(function* (): CoroutineFn {
    inside = Coroutine.current
  }).enter()
  t.ok(inside)
  t.equal(Coroutine.current, undefined)
})

void t.test('C7 order - control is transferred at once, both ways', async (t) => {
  const order: string[] = []
  const co = Coroutine.create(function* (): CoroutineFn {
    order.push('co1')
    yield* Coroutine.yield()
    order.push('co2')
  })
  order.push('main1')
  co.enter()
  order.push('main2')
  co.enter()
  order.push('main3')
  t.same(order, ['main1', 'co1', 'main2', 'co2', 'main3'])
})

void t.test('C8 no-dangling-access - entering c2 after c1 ended does not touch c1', async (t) => {
  const c2 = Coroutine.create(function* (): CoroutineFn {
    yield* Coroutine.yield()
  })
  const c1 = Coroutine.create(function* (): CoroutineFn {
    c2.enter()
  })
  c1.enter()
  t.equal(c1.ended, true)
  t.equal(c2.ended, false)
  c2.enter()
  t.equal(c2.ended, true)
  t.equal(c1.entered, false)
})

void t.test('A13 coroutine/queue-chaining - 25,000 wake-ups do not grow the stack', async (t) => {
  const max = 25_000
  const counts = [0, 0]
  const pair: Coroutine[] = [0, 1].map((i) =>
    Coroutine.create(function* (): CoroutineFn {
      while (counts[i]! < max) {
        counts[i]!++
        if (!pair[1 - i]!.ended) aioCoWake(pair[1 - i]!)
        if (counts[i]! < max) yield* Coroutine.yield()
      }
    })
  )
  pair[0]!.enter()
  t.same(counts, [max, max])
  t.ok(pair.every((co) => co.ended))
})

void t.test(
  'A14 coroutine/worker-thread-co-enter - a foreign thread enters it here, after one poll',
  async (t) => {
    let entries = 0
    const co = Coroutine.create(function* (): CoroutineFn {
      yield* Coroutine.yield()
      entries++
    })
    co.enter()
    const polled = ctx.poll(true)
    await inThread(t, new URL('./tasks.js', import.meta.url).href, 'wake', co.handle)
    t.equal(await polled, true)
    t.equal(entries, 1)
    t.equal(co.ended, true)
  }
)

void t.test('Coroutine - scheduling runs it in the next round, in the order of scheduling', async (t) => {
  const order: number[] = []
  for (let i = 0; i < 100; i++) {
    const co = Coroutine.create(function* (): CoroutineFn {
      order.push(i)
    })
    aioCoSchedule(ctx, co)
  }
  t.same(order, [])
  while (await ctx.poll(false));
  t.same(
    order,
    Array.from({ length: 100 }, (_, i) => i)
  )
})

void t.test('Coroutine - what is impossible is refused', async (t) => {
  const co: Coroutine = Coroutine.create(function* (): CoroutineFn {
    t.throws(() => co.enter(), NBDError, 'entering the running one')
    yield* Coroutine.yield()
  })
  co.enter()
  co.enter()
  t.throws(() => co.enter(), NBDError, 'entering one that has ended')
  t.throws(() => co.handle, NBDError)
  t.throws(() => Coroutine.yield().next(), NBDError, 'yield outside a coroutine')
})

void t.test('Coroutine - what its function throws is what it ends with', async (t) => {
  await t.rejects(
    Coroutine.start(function* (): CoroutineFn {
      throw new Error('no')
    }),
    { message: 'no' }
  )
  t.equal(Coroutine.current, undefined)
})

void t.test('Coroutine - what it ended with can be asked for before its end and after', async (t) => {
  const create = (): Coroutine<number> =>
    Coroutine.create(function* (): CoroutineFn<number> {
      yield* Coroutine.yield()
      return 7
    })
  const early = create()
  const { finished } = early
  const late = create()
  for (const co of [early, late]) {
    co.enter()
    co.enter()
  }
  t.equal(await finished, 7)
  t.equal(early.finished, finished, 'it is one promise')
  t.equal(await late.finished, 7)
})

void t.test('Coroutine - an error that nobody asks for ends the thread', async (t) => {
  const module = new URL('../../../../shared/coroutine/coroutine.js', import.meta.url).href
  const worker = new Worker(
    `import('${module}').then(({ Coroutine }) =>
      Coroutine.create(function* () { throw new Error('seen') }).enter())`,
    { eval: true }
  )
  const [error] = (await once(worker, 'error')) as [Error]
  t.equal(error.message, 'seen')
})

void t.test('coAwait - a coroutine waits for a promise, and gets its value or its error', async (t) => {
  const result = await Coroutine.start(function* (): CoroutineFn<string> {
    const self = Coroutine.current
    const value = yield* coAwait(Promise.resolve('a'))
    t.equal(Coroutine.current, self)
    try {
      yield* coAwait(Promise.reject(new Error('b')))
    } catch (error) {
      return value + (error as Error).message
    }
    return value
  })
  t.equal(result, 'ab')
})
