/** test-thread-pool.c, and what else a job can be. */
import { constants } from 'node:os'
import t, { type Test } from 'tap'
import { AioContext } from '../../../../shared/aio/aio-context.ts'
import { ThreadPool, threadPool, type ThreadPoolOptions } from '../../../../shared/aio/thread-pool.ts'
import type { ThreadPoolElement } from '../../../../shared/aio/thread-pool-element.ts'
import { Coroutine, type CoroutineFn } from '../../../../shared/coroutine/coroutine.ts'
import { threadPoolSubmitCo } from '../../../../shared/coroutine/thread-pool-co.ts'
import { NBDError } from '../../../../shared/errors/nbd-error.ts'
import { DOUBLE, FAIL, FAIL_LATER, WHERE } from '../../../helpers/raw-entry-points.ts'
import { waitFor, within } from '../../../helpers/wait-for.ts'
import {
  COUNT,
  JOBS,
  LONG,
  newMemory,
  NOTE_ORDER,
  openGate,
  PARK,
  PARKED,
  SUM,
  THREAD
} from './thread-pool-tasks.ts'

const { ECANCELED } = constants.errno
const ctx = AioContext.current()

function newPool(t: Test, options: ThreadPoolOptions = { max: 4 }): ThreadPool {
  const pool = new ThreadPool(options)
  t.teardown(() => pool.close())
  return pool
}

void t.test('P1 submit-no-complete - a job runs also when nobody wants its result', async (t) => {
  const pool = newPool(t)
  const memory = newMemory()
  const words = new Int32Array(memory)
  pool.submit(COUNT, { memory, id: 0 })
  while (Atomics.load(words, JOBS) === 0) await ctx.poll(true)
  t.equal(words[JOBS], 1)
})

void t.test('P1 submit-no-complete - nor is it a fault when such a job fails', async (t) => {
  const pool = newPool(t)
  const unhandled: unknown[] = []
  const note = (reason: unknown): unknown => unhandled.push(reason)
  process.on('unhandledRejection', note)
  t.teardown(() => process.off('unhandledRejection', note))
  pool.submit(FAIL, { kind: 'request', errno: 5 })
  t.equal(await pool.submit(DOUBLE, 1).result, 2)
  await new Promise((resolve) => setImmediate(resolve))
  t.same(unhandled, [])
})

void t.test('P2 submit-aio - the result comes in a round of the loop, once', async (t) => {
  const pool = newPool(t)
  const memory = newMemory()
  const element = pool.submit(COUNT, { memory, id: 0 })
  const results: number[] = []
  void element.result.then((result) => results.push(result))
  t.equal(element.state, 'queued')
  await Promise.resolve()
  t.same(results, [], 'not before the loop turns')
  while (results.length === 0) t.equal(await ctx.poll(true), true)
  t.same(results, [0])
  t.equal(element.state, 'done')
  t.equal(new Int32Array(memory)[JOBS], 1)
})

void t.test('P3 submit-co - a coroutine waits for the work, and goes on in its context', async (t) => {
  const pool = newPool(t)
  const memory = newMemory()
  const steps: string[] = []
  let self: Coroutine<unknown> | undefined
  const finished = Coroutine.start(function* (): CoroutineFn<number> {
    self = Coroutine.current
    steps.push('submitted')
    const before = yield* threadPoolSubmitCo(COUNT, { memory, id: 0 }, pool)
    t.equal(Coroutine.current, self)
    t.equal(AioContext.current(), self!.ctx)
    steps.push('resumed')
    return before
  })
  steps.push('back')
  while (!self!.ended) await ctx.poll(true)
  t.equal(await finished, 0)
  t.same(steps, ['submitted', 'back', 'resumed'])
  t.equal(new Int32Array(memory)[JOBS], 1)
})

void t.test('P3 submit-co - what the work throws is thrown in the coroutine', async (t) => {
  const pool = newPool(t)
  const caught = await Coroutine.start(function* (): CoroutineFn<unknown> {
    try {
      return yield* threadPoolSubmitCo(FAIL, { kind: 'request', errno: 28 }, pool)
    } catch (error) {
      return error
    }
  })
  t.ok(NBDError.is(caught))
  t.match(caught, { kind: 'request', errno: 28 })
})

async function submitMany(t: Test, pool: ThreadPool): Promise<void> {
  const memory = newMemory()
  let active = 100
  for (let id = 0; id < 100; id++) {
    void pool.submit(COUNT, { memory, id }).result.then((before) => {
      t.equal(before, 0)
      active--
    })
  }
  while (active > 0) await ctx.poll(true)
  t.equal(active, 0)
  t.ok(
    new Int32Array(memory).subarray(JOBS, JOBS + 100).every((runs) => runs === 1),
    'each ran once'
  )
}

void t.test('P4 submit-many - more jobs than threads: each runs once and gives one result', async (t) => {
  const pool = newPool(t)
  await submitMany(t, pool)
  t.ok(pool.threads <= 4)
})

interface CancelTest {
  element: ThreadPoolElement<number> | undefined
  result: number | undefined
}

for (const [line, cancel] of [
  ['P5 cancel', (element: ThreadPoolElement<number>) => element.cancelAndWait()],
  ['P6 cancel-async', async (element: ThreadPoolElement<number>) => void element.cancel()]
] as const) {
  void t.test(`${line} - what is queued never runs, what runs completes`, async (t) => {
    const pool = newPool(t)
    await submitMany(t, pool)
    const memory = newMemory()
    const words = new Int32Array(memory)
    let active = 100
    const jobs = Array.from({ length: 100 }, (_, id): CancelTest => {
      const element = pool.submit(LONG, { memory, id })
      const job: CancelTest = { element, result: undefined }
      const done = (result: number): void => {
        job.result = result
        job.element = undefined
        active--
      }
      element.result.then(done, (error: unknown) => done(-(error as NBDError).errno!))
      return job
    })
    await waitFor('all threads to be parked', () => Atomics.load(words, PARKED) === 4)
    t.equal(active, 100)
    t.equal(pool.queued, 96)

    const waits: Promise<void>[] = []
    let cancelled = 0
    for (const [id, { element }] of jobs.entries()) {
      if (Atomics.compareExchange(words, JOBS + id, 0, 4) !== 0) continue
      waits.push(cancel(element!))
      t.equal(element!.state, 'cancelled')
      cancelled++
    }
    t.ok(cancelled > 50, `${cancelled} were still pending`)
    await Promise.all(waits)
    while (active > 4) await ctx.poll(true)
    t.equal(active, 100 - cancelled, 'some could not be cancelled')

    const running = jobs.flatMap(({ element }) => element ?? [])
    let waited = 0
    const endings = running.map(async (element) => {
      await cancel(element)
      waited++
    })
    t.ok(running.every(({ state }) => state === 'active'))
    if (line === 'P5 cancel') {
      await ctx.poll(false)
      t.equal(waited, 0, 'who cancels what runs waits for it')
    }
    openGate(memory)
    while (active > 0) await ctx.poll(true)
    await within('the last cancellations', Promise.all(endings))
    for (const [id, { element, result }] of jobs.entries()) {
      t.equal(element, undefined)
      t.ok([3, 4].includes(words[JOBS + id]!), 'it either ran to its end or never')
      t.equal(result, words[JOBS + id] === 3 ? 0 : -ECANCELED)
    }
  })
}

void t.test('cancel - says whether it could, and rejects with ECANCELED', async (t) => {
  const pool = newPool(t, { max: 1 })
  const memory = newMemory()
  const running = pool.submit(PARK, { memory, id: 0 })
  await waitFor('the job to be parked', () => Atomics.load(new Int32Array(memory), PARKED) === 1)
  const queued = pool.submit(DOUBLE, 1)
  t.equal(running.cancel(), false)
  t.equal(queued.cancel(), true)
  t.equal(queued.cancel(), false)
  await t.rejects(queued.result, { kind: 'request', errno: ECANCELED, message: /^double: .*cancel/ })
  openGate(memory)
  await running.result
  t.equal(running.cancel(), false)
  t.equal(running.state, 'done')
})

void t.test('submit - jobs begin in the order of submission', async (t) => {
  const pool = newPool(t, { max: 1 })
  const memory = newMemory()
  pool.submit(PARK, { memory, id: 0 })
  const elements = Array.from({ length: 50 }, (_, id) => pool.submit(NOTE_ORDER, { memory, id }))
  for (const id of [7, 0, 49]) elements[id]!.cancel()
  openGate(memory)
  await Promise.allSettled(elements.map(({ result }) => result))
  const left = elements.flatMap(({ state }, id) => (state === 'done' ? id : []))
  t.equal(left.length, 47)
  const words = new Int32Array(memory)
  t.same(
    left.map((id) => words[JOBS + id]),
    left.map((_, place) => place)
  )
})

void t.test('submit - jobs run in threads of the pool, and use those that there are', async (t) => {
  const pool = newPool(t)
  const threads = new Set<number>()
  for (let i = 0; i < 20; i++) {
    const { main, thread } = await pool.submit(WHERE, undefined).result
    t.notOk(main)
    threads.add(thread)
  }
  t.equal(threads.size, 1)
  t.equal(pool.threads, 1)
  t.equal(pool.idleThreads, 1)
})

void t.test('submit - what is in the transfer list is moved', async (t) => {
  const pool = newPool(t)
  const bytes = new Uint8Array([1, 2, 3])
  t.equal(await pool.submit(SUM, bytes, [bytes.buffer]).result, 6)
  t.equal(bytes.length, 0)
})

void t.test('submit - errors keep class, kind, errno and stack', async (t) => {
  const pool = newPool(t)
  const ours: unknown = await pool.submit(FAIL, { kind: 'config', errno: 22 }).result.catch((e: unknown) => e)
  t.ok(NBDError.is(ours))
  t.match(ours, { kind: 'config', errno: 22, message: 'it failed', stack: /raw-entry-points/ })
  const other: unknown = await pool.submit(FAIL_LATER, 'not a function').result.catch((e: unknown) => e)
  t.ok(other instanceof TypeError)
  t.match(other, { message: 'not a function', stack: /failLater/ })
})

void t.test('threadPool - one for a context, and another when it was closed', async (t) => {
  const pool = threadPool()
  t.equal(threadPool(), pool)
  t.same(pool.params, { min: 0, max: 64 })
  t.type(await pool.submit(THREAD, undefined).result, 'number')
  await pool.close()
  t.not(threadPool(), pool)
  await threadPool().close()
})
