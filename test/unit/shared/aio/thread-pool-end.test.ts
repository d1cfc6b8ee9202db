/** How a thread pool ends, and what it does not hold up. */
import { execFile } from 'node:child_process'
import { constants } from 'node:os'
import { promisify } from 'node:util'
import t from 'tap'
import { MAX_CONTEXTS } from '../../../../shared/aio/context-table.ts'
import { ThreadPool, threadPool } from '../../../../shared/aio/thread-pool.ts'
import { IOThread } from '../../../../shared/iothread/io-thread.ts'
import { threadCount } from '../../../helpers/proc.ts'
import { DOUBLE } from '../../../helpers/raw-entry-points.ts'
import { waitFor, within } from '../../../helpers/wait-for.ts'
import {
  CONTEXT,
  DIE_PARKED,
  NESTED,
  newMemory,
  openGate,
  PARK,
  PARKED,
  THREAD
} from './thread-pool-tasks.ts'

const { ECANCELED } = constants.errno

/** Threads of this process once those have started that Node starts when it needs them. */
async function threadsWithoutWorkers(): Promise<number> {
  const pool = new ThreadPool({ max: 1 })
  await pool.submit(THREAD, undefined).result
  await pool.close()
  return threadCount(process.pid)
}

const untilThreads = (count: number): Promise<boolean> =>
  waitFor(`${count} threads`, () => threadCount(process.pid) === count)

void t.test('close - cancels what is queued, waits for what runs, and leaves no thread', async (t) => {
  const before = await threadsWithoutWorkers()
  const pool = new ThreadPool({ min: 1, max: 2 })
  const memory = newMemory()
  const jobs = Array.from({ length: 5 }, (_, id) => pool.submit(PARK, { memory, id }))
  await waitFor('two parked jobs', () => Atomics.load(new Int32Array(memory), PARKED) === 2)
  let closed = false
  const closing = pool.close().then(() => (closed = true))
  for (const job of jobs.slice(2))
    await t.rejects(job.result, { kind: 'request', errno: ECANCELED, message: /cancel/ })
  t.equal(closed, false)
  t.throws(() => pool.submit(DOUBLE, 1), { kind: 'bug', message: /closed/ })
  openGate(memory)
  for (const job of jobs.slice(0, 2)) t.type(await job.result, 'number')
  await within('close', closing)
  t.equal(pool.threads, 0)
  await untilThreads(before)
  await pool.close()
})

void t.test('close - a pool that has idle threads, is just starting one, or never had any', async (t) => {
  const before = await threadsWithoutWorkers()
  const idle = new ThreadPool({ min: 2, max: 2 })
  await waitFor('two idle threads', () => idle.idleThreads === 2)
  await within('close', idle.close())
  await within('close', new ThreadPool({ min: 2, max: 2 }).close())
  const starting = new ThreadPool({ max: 2 })
  const job = starting.submit(DOUBLE, 1)
  await within('close', starting.close())
  t.equal(job.state, 'cancelled')
  await within('close', new ThreadPool().close())
  await untilThreads(before)
})

void t.test('close - the place that a thread had in the table of contexts is free again', async (t) => {
  const places = new Set<number>()
  for (let i = 0; i < 3; i++) {
    const pool = new ThreadPool({ max: 1 })
    // The handle tells generations of one place apart.
    places.add((await pool.submit(CONTEXT, undefined).result) % MAX_CONTEXTS)
    await pool.close()
  }
  t.equal(places.size, 1)
})

void t.test('close - a thread that dies meanwhile is not replaced', async (t) => {
  const before = await threadsWithoutWorkers()
  const pool = new ThreadPool({ min: 1, max: 1 })
  const memory = newMemory()
  const dying = pool.submit(DIE_PARKED, { memory, id: 0 })
  await waitFor('the job to be parked', () => Atomics.load(new Int32Array(memory), PARKED) === 1)
  const closing = pool.close()
  openGate(memory)
  await t.rejects(dying.result, { kind: 'bug', message: /died/ })
  await within('close', closing)
  await untilThreads(before)
})

const run = promisify(execFile)
/** Runs a program that has imported the pool. @returns what it prints until it ends by itself */
async function program(text: string): Promise<string> {
  const url = (path: string): string => new URL(path, import.meta.url).href
  const code = `
    const { threadPool } = await import('${url('../../../../shared/aio/thread-pool.js')}')
    const DOUBLE = { module: '${url('../../../helpers/raw-entry-points.js')}', name: 'double' }
    const pool = threadPool()
    ${text}`
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', code], { timeout: 30_000 })
  return stdout
}

void t.test('a program - does not wait for idle threads', async (t) => {
  t.equal(
    await program(`
      pool.setParams({ min: 2 })
      console.log(await pool.submit(DOUBLE, 21).result)`),
    '42\n'
  )
})

void t.test('a program - waits for jobs', async (t) => {
  t.equal(
    await program(`
      pool.setParams({ max: 1 })
      for (const value of [1, 2]) pool.submit(DOUBLE, value).result.then((result) => console.log(result))`),
    '2\n4\n'
  )
})

void t.test('IOThread - has a pool of its own, whose threads end with it, whatever they do', async (t) => {
  const before = await threadsWithoutWorkers()
  const thread = await IOThread.start('io0')
  t.teardown(() => thread.stop())
  const first = newMemory()
  openGate(first)
  t.type(await thread.run(NESTED, { memory: first, id: 0 }), 'number')
  const memory = newMemory()
  const runs = [0, 1, 2].map((id) => thread.run(NESTED, { memory, id }))
  await waitFor('three parked jobs', () => Atomics.load(new Int32Array(memory), PARKED) === 3)
  t.equal(threadPool().threads, 0, 'it is not this one')
  t.ok(threadCount(process.pid) >= before + 4)
  const rejected = runs.map((run) => t.rejects(run, { message: /ended/ }))
  await within('stop', thread.stop())
  await Promise.all(rejected)
  await untilThreads(before)
})
