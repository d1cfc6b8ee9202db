/** What goes wrong with a job or a thread stays there. */
import { constants } from 'node:os'
import t, { type Test } from 'tap'
import { ThreadPool, type ThreadPoolOptions } from '../../../../shared/aio/thread-pool.ts'
import { setLogLevel } from '../../../../shared/log/log.ts'
import { untilCollected } from '../../../helpers/garbage.ts'
import { ABSENT, DOUBLE, ECHO, THROW, UNPOSTABLE } from '../../../helpers/raw-entry-points.ts'
import { waitFor, within } from '../../../helpers/wait-for.ts'
import {
  DEEP,
  DIE_LATER,
  DIE_WAITING,
  EXIT_WAITING,
  newMemory,
  openGate,
  PARK,
  PARKED,
  THREAD
} from './thread-pool-tasks.ts'

function newPool(t: Test, options: ThreadPoolOptions = { max: 1 }): ThreadPool {
  const pool = new ThreadPool(options)
  t.teardown(() => pool.close())
  return pool
}

void t.test('submit - an argument that cannot be posted fails that job only', async (t) => {
  const pool = newPool(t)
  const before = await pool.submit(THREAD, undefined).result
  const unpostable = (): void => undefined
  for (const element of [pool.submit(ECHO, unpostable), pool.submit(ECHO, unpostable)]) {
    await t.rejects(within('the job', element.result), {
      name: 'DataCloneError',
      message: /could not be cloned/
    })
    t.equal(element.state, 'done')
  }
  t.equal(await pool.submit(THREAD, undefined).result, before)
})

void t.test('submit - so it does when it had to wait in the queue', async (t) => {
  const pool = newPool(t)
  const memory = newMemory()
  pool.submit(PARK, { memory, id: 0 })
  const element = pool.submit(ECHO, () => undefined)
  const next = pool.submit(DOUBLE, 4)
  openGate(memory)
  await t.rejects(within('the job', element.result), { name: 'DataCloneError' })
  t.equal(await next.result, 8)
})

void t.test('submit - a result that cannot be posted fails that job only', async (t) => {
  const pool = newPool(t)
  const before = await pool.submit(THREAD, undefined).result
  await t.rejects(within('the job', pool.submit(UNPOSTABLE, undefined).result), {
    kind: 'bug',
    message: /^the result of unpostable cannot be posted: .*could not be cloned/
  })
  t.equal(await pool.submit(THREAD, undefined).result, before)
})

void t.test('submit - so does one that can be posted, but not be received', async (t) => {
  const pool = newPool(t)
  const before = await pool.submit(THREAD, undefined).result
  // The stack of a worker is larger than that of this thread.
  await t.rejects(within('the job', pool.submit(DEEP, 8_000).result), {
    kind: 'bug',
    message: /^the result of deep cannot be received: /
  })
  t.equal(await pool.submit(THREAD, undefined).result, before)
})

void t.test(
  'submit - whatever is thrown, and a function that is not there, fail that job only',
  async (t) => {
    const pool = newPool(t)
    const before = await pool.submit(THREAD, undefined).result
    for (const what of ['nothing', 'symbol', 'bare object', 'odd fields'] as const) {
      await t.rejects(within(what, pool.submit(THROW, what).result), Error)
    }
    await t.rejects(pool.submit(ABSENT, undefined).result, { kind: 'bug', message: /no function 'absent'/ })
    await t.rejects(pool.submit({ module: 'file:///nonexistent.js', name: 'x' }, 1).result, {
      message: /nonexistent/
    })
    t.equal(await pool.submit(THREAD, undefined).result, before)
  }
)

void t.test('submit - nothing is kept of a job that has ended, whichever way', async (t) => {
  const pool = newPool(t)
  const run = async (argument: object, end: 'done' | 'cancelled'): Promise<WeakRef<WeakKey>> => {
    const element = pool.submit(ECHO, argument)
    if (end === 'cancelled') element.cancel()
    await element.result.catch(() => undefined)
    t.equal(element.state, end)
    return new WeakRef(element)
  }
  t.ok(await untilCollected('a job', await run({}, 'done')))
  t.ok(await untilCollected('a job', await run({ callback: () => undefined }, 'done')))
  const memory = newMemory()
  const parked = pool.submit(PARK, { memory, id: 0 })
  await waitFor('the thread to be busy', () => parked.state === 'active')
  const cancelled = await run({}, 'cancelled')
  for (let i = 0; i < 100; i++) await run({}, 'cancelled')
  t.ok(await untilCollected('a job', cancelled), 'also while the queue does not move')
  openGate(memory)
})

for (const [how, die, message, stack] of [
  [
    'an exception that nobody catches',
    (pool: ThreadPool) => pool.submit(DIE_WAITING, 'out of luck'),
    /^a thread of the thread pool died: out of luck$/,
    /TypeError: out of luck\n.*thread-pool-tasks/
  ],
  [
    'process.exit',
    (pool: ThreadPool) => pool.submit(EXIT_WAITING, 3),
    /^a thread of the thread pool died: it ended with status 3$/,
    /status 3/
  ]
] as const) {
  void t.test(`a thread that dies of ${how} fails its job, and another takes over`, async (t) => {
    const pool = newPool(t, { max: 2 })
    const memory = newMemory()
    const bystander = pool.submit(PARK, { memory, id: 0 })
    await waitFor('the job to be parked', () => Atomics.load(new Int32Array(memory), PARKED) === 1)
    const dying = die(pool)
    const queued = [1, 2, 3].map((value) => pool.submit(DOUBLE, value).result)
    await t.rejects(within('the job', dying.result), { kind: 'bug', message, cause: { stack } })
    t.equal(dying.state, 'done')
    t.same(await within('those that waited', Promise.all(queued)), [2, 4, 6])
    t.equal(pool.threads, 2)
    openGate(memory)
    t.type(await bystander.result, 'number')
  })
}

void t.test('a thread that dies while it is idle is replaced, up to min', async (t) => {
  setLogLevel('silent')
  t.teardown(() => setLogLevel('warn'))
  const pool = newPool(t, { min: 1, max: 1 })
  const memory = newMemory()
  const before = await pool.submit(THREAD, undefined).result
  await pool.submit(DIE_LATER, { memory, id: 0 }).result
  openGate(memory)
  await waitFor('it to die', () => pool.idleThreads === 0)
  await waitFor('another', () => pool.idleThreads === 1)
  t.not(await pool.submit(THREAD, undefined).result, before)
})

for (const [how, options] of [
  ['at once', ['--input-type=module', '--require']],
  ['while it starts', ['--input-type=module', '--require', '/nonexistent/preload.cjs']]
] as const) {
  void t.test(
    `a thread that cannot be started, which shows ${how}, fails the jobs, not the pool`,
    async (t) => {
      setLogLevel('silent')
      t.teardown(() => setLogLevel('warn'))
      const given = [...process.execArgv]
      t.teardown(() => (process.execArgv = given))
      const pool = newPool(t, { max: 2 })
      process.execArgv = [...given, ...options]
      const jobs = [1, 2, 3].map((value) => pool.submit(DOUBLE, value).result)
      for (const job of jobs) {
        await t.rejects(within('the job', job), {
          kind: 'request',
          errno: constants.errno.EAGAIN,
          message: /^a thread of the thread pool cannot be started: /
        })
      }
      pool.setParams({ min: 1 })
      await waitFor('the pool to give up', () => pool.threads === 0)
      process.execArgv = given
      t.equal(await pool.submit(DOUBLE, 4).result, 8)
    }
  )
}

void t.test('a thread that cannot be started leaves the jobs to those that there are', async (t) => {
  const given = [...process.execArgv]
  t.teardown(() => (process.execArgv = given))
  const pool = newPool(t, { max: 2 })
  const memory = newMemory()
  const parked = pool.submit(PARK, { memory, id: 0 })
  await waitFor('the job to be parked', () => Atomics.load(new Int32Array(memory), PARKED) === 1)
  process.execArgv = [...given, '--no-such-option']
  const job = pool.submit(DOUBLE, 4)
  t.equal(job.state, 'queued')
  openGate(memory)
  t.equal(await job.result, 8)
  t.type(await parked.result, 'number')
})
