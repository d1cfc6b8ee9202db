/** How many threads a pool has, and when they come and go. */
import t, { type Test } from 'tap'
import { DEFAULT_THREAD_POOL_PARAMS } from '../../../../shared/aio/thread-pool-params.ts'
import { ThreadPool, type ThreadPoolOptions } from '../../../../shared/aio/thread-pool.ts'
import { waitFor } from '../../../helpers/wait-for.ts'
import { newMemory, openGate, PARK, PARKED, PEAK, THREAD } from './thread-pool-tasks.ts'

/** Threads that are told to wait so long do not end within a test. */
const NEVER_MS = 0x7fffffff

function newPool(t: Test, options: ThreadPoolOptions): ThreadPool {
  const pool = new ThreadPool({ idleMs: NEVER_MS, ...options })
  t.teardown(() => pool.close())
  return pool
}

class ParkedJobs {
  readonly memory = newMemory()
  readonly #words = new Int32Array(this.memory)
  readonly #results: Promise<number>[] = []

  constructor(pool: ThreadPool, count: number) {
    for (let id = 0; id < count; id++)
      this.#results.push(pool.submit(PARK, { memory: this.memory, id }).result)
  }

  async untilParked(count: number): Promise<void> {
    await waitFor(`${count} parked jobs`, () => Atomics.load(this.#words, PARKED) === count)
  }

  get peak(): number {
    return this.#words[PEAK]!
  }

  release(): Promise<number[]> {
    openGate(this.memory)
    return Promise.all(this.#results)
  }
}

void t.test('max - no more threads than that, and as many when they are needed', async (t) => {
  const pool = newPool(t, { max: 3 })
  const jobs = new ParkedJobs(pool, 20)
  await jobs.untilParked(3)
  t.equal(pool.threads, 3)
  t.equal(pool.queued, 17)
  const threads = await jobs.release()
  t.equal(threads.length, 20)
  t.ok(new Set(threads).size <= 3)
  t.ok(jobs.peak <= 3)
})

void t.test(
  'threads - they are started one at a time, while there are jobs that no thread takes',
  async (t) => {
    const pool = newPool(t, { max: 4 })
    t.equal(pool.threads, 0)
    const jobs = new ParkedJobs(pool, 4)
    t.equal(pool.threads, 1)
    let most = 0
    await waitFor('all threads', () => {
      most = Math.max(most, pool.threads - (4 - pool.queued))
      return pool.threads === 4
    })
    t.ok(most <= 1, 'never two that have no job yet')
    await jobs.release()
  }
)

void t.test('threads - one that is idle is used before another is started', async (t) => {
  const pool = newPool(t, { max: 4 })
  for (let i = 0; i < 3; i++) {
    await pool.submit(THREAD, undefined).result
    t.equal(pool.threads, 1)
  }
})

void t.test('min - so many are started when it is set, and kept', async (t) => {
  const pool = newPool(t, { min: 2, max: 4, idleMs: 20 })
  t.equal(pool.threads, 1, 'they, too, one at a time')
  await waitFor('two idle threads', () => pool.idleThreads === 2)
  pool.setParams({ min: 3 })
  await waitFor('three idle threads', () => pool.idleThreads === 3)
  const jobs = new ParkedJobs(pool, 4)
  await jobs.untilParked(4)
  await jobs.release()
  await waitFor('the fourth to end', () => pool.threads === 3)
  // Another pool's thread, which waits as long from now on, ends; these do not.
  const other = newPool(t, { idleMs: 60 })
  await other.submit(THREAD, undefined).result
  await waitFor('the other pool to be empty', () => other.threads === 0)
  t.equal(pool.threads, 3)
  t.equal(pool.idleThreads, 3)
  pool.setParams({ min: 0 })
  await waitFor('all to end', () => pool.threads === 0)
})

void t.test('idle - who has nothing to do ends in the end, and work starts threads again', async (t) => {
  const pool = newPool(t, { max: 3, idleMs: 20 })
  for (let i = 0; i < 2; i++) {
    const jobs = new ParkedJobs(pool, 3)
    await jobs.untilParked(3)
    t.equal(pool.threads, 3)
    await jobs.release()
    await waitFor('all to end', () => pool.threads === 0)
    t.equal(pool.idleThreads, 0)
  }
})

void t.test('idle - the thread that was used last is used first, so that the others can end', async (t) => {
  const pool = newPool(t, { min: 3 })
  await waitFor('three idle threads', () => pool.idleThreads === 3)
  const used = new Set<number>()
  for (let i = 0; i < 10; i++) used.add(await pool.submit(THREAD, undefined).result)
  t.equal(used.size, 1)
})

void t.test('setParams - with a lower max idle threads end at once', async (t) => {
  const pool = newPool(t, { min: 4, max: 4 })
  await waitFor('four idle threads', () => pool.idleThreads === 4)
  pool.setParams({ min: 0, max: 2 })
  t.equal(pool.threads, 2)
  t.equal(pool.idleThreads, 2)
})

void t.test('setParams - with a lower max busy threads end when their job has', async (t) => {
  const pool = newPool(t, { max: 4 })
  const jobs = new ParkedJobs(pool, 4)
  await jobs.untilParked(4)
  const rest = Array.from({ length: 10 }, () => pool.submit(THREAD, undefined).result)
  pool.setParams({ max: 1 })
  t.equal(pool.threads, 4, 'nobody is disturbed')
  await jobs.release()
  await waitFor('three to end', () => pool.threads === 1)
  t.equal(new Set(await Promise.all(rest)).size, 1, 'the jobs that were queued run in the one that is left')
})

void t.test('setParams - with a lower max a thread that is just starting ends, too', async (t) => {
  const pool = newPool(t, { max: 2 })
  const jobs = new ParkedJobs(pool, 2)
  // The turn of the loop in which the first thread takes its job, and the second is started.
  while (pool.queued === 2) await new Promise((resolve) => setImmediate(resolve))
  t.equal(pool.threads, 2)
  pool.setParams({ max: 1 })
  await waitFor('the second to end', () => pool.threads === 1)
  t.equal(pool.queued, 1)
  await jobs.release()
  t.equal(jobs.peak, 1)
})

void t.test('setParams - with a higher max the queue moves on at once', async (t) => {
  const pool = newPool(t, { max: 1 })
  const jobs = new ParkedJobs(pool, 3)
  await jobs.untilParked(1)
  pool.setParams({ max: 3 })
  await jobs.untilParked(3)
  await jobs.release()
})

void t.test('params - the defaults are those of QEMU', async (t) => {
  t.same(newPool(t, {}).params, { min: 0, max: 64 })
  t.same(DEFAULT_THREAD_POOL_PARAMS, { min: 0, max: 64 })
})

for (const [params, message] of [
  [{ min: 5, max: 4 }, 'thread-pool-min 5 is greater than thread-pool-max 4'],
  [{ min: 65 }, 'thread-pool-min 65 is greater than thread-pool-max 64'],
  [{ max: 0 }, 'thread-pool-max must be from 1 to 2147483647, not 0'],
  [{ min: -1 }, 'thread-pool-min must be from 0 to 2147483647, not -1'],
  [{ max: -1 }, 'thread-pool-max must be from 1 to 2147483647, not -1'],
  [{ max: 2 ** 31 }, 'thread-pool-max must be from 1 to 2147483647, not 2147483648'],
  [{ min: 1.5 }, 'thread-pool-min must be from 0 to 2147483647, not 1.5'],
  [{ max: NaN }, 'thread-pool-max must be from 1 to 2147483647, not NaN']
] as const) {
  void t.test(`params - ${JSON.stringify(params)} is refused, and changes nothing`, async (t) => {
    t.throws(() => new ThreadPool(params), { kind: 'config', message })
    const pool = newPool(t, {})
    t.throws(() => pool.setParams(params), { kind: 'config', message })
    t.same(pool.params, { min: 0, max: 64 })
    t.equal(pool.threads, 0)
  })
}
