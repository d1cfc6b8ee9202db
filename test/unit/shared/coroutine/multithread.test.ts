/** test-aio-multithread.c, with five IOThreads. */
import t, { type Test } from 'tap'
import type { CoroutineHandle } from '../../../../shared/coroutine/coroutine.ts'
import { IOThread } from '../../../../shared/iothread/io-thread.ts'
import type { EntryPoint } from '../../../../shared/iothread/messages.ts'
import { waitFor } from '../../../helpers/wait-for.ts'
import { ATOMIC, PLAIN, STOP, TURNS } from './tasks.ts'

const THREADS = 5
/** How long all are at it together, as in QEMU's quick mode. */
const MS = 1000
/** Turns that each has had before that time begins. */
const AT_LEAST = 100

const task = <A, R>(name: string): EntryPoint<A, R> => ({
  module: new URL('./tasks.js', import.meta.url).href,
  name
})

async function startThreads(t: Test, count: number): Promise<IOThread[]> {
  const threads = await Promise.all(Array.from({ length: count }, (_, i) => IOThread.start(`io${i}`)))
  t.teardown(() => Promise.all(threads.map((thread) => thread.stop())))
  return threads
}

async function untilAllAreAtIt(words: Int32Array, threads: number): Promise<void> {
  for (let id = 0; id < threads; id++) {
    await waitFor(`thread ${id} to have its turns`, () => Atomics.load(words, TURNS + id) >= AT_LEAST, 60_000)
  }
  await new Promise((resolve) => setTimeout(resolve, MS))
}

void t.test('T1 lifecycle - a function runs in each thread, and all end', async (t) => {
  const threads = await startThreads(t, THREADS)
  const memory = new SharedArrayBuffer(256)
  new Int32Array(memory)[STOP] = 1
  const turns = await Promise.all(
    threads.map((thread, id) => thread.run(task('countUnderMutex'), { memory, id }))
  )
  t.same(turns, [0, 0, 0, 0, 0])
})

void t.test('T2 schedule - wake-ups passed at random: none is lost, none doubled', async (t) => {
  const threads = await startThreads(t, THREADS)
  const memory = new SharedArrayBuffer(256)
  const words = new Int32Array(memory)
  const handles: CoroutineHandle[] = await Promise.all(
    threads.map((thread, id) => thread.run(task<unknown, CoroutineHandle>('prepareToPass'), { memory, id }))
  )
  const passing = threads.map((thread) =>
    thread.run(task<unknown, { wakeUps: number; entries: number }>('passWakeUps'), { handles })
  )
  await untilAllAreAtIt(words, THREADS)
  Atomics.store(words, STOP, 1)
  // Who is parked is woken once more from here; the last of them may park after the others have stopped.
  let released = 0
  const ended = Promise.all(passing)
  let done = false
  void ended.finally(() => (done = true))
  await waitFor('all to end', async () => {
    const woken = await Promise.all(
      threads.map((thread, id) => thread.run(task<unknown, boolean>('release'), { memory, id }))
    )
    released += woken.filter(Boolean).length
    return done
  })
  const results = await ended
  const sum = (key: 'wakeUps' | 'entries'): number =>
    results.reduce((total, result) => total + result[key], 0)
  t.equal(sum('entries'), sum('wakeUps') + released)
  t.ok(sum('wakeUps') >= THREADS * AT_LEAST, `${sum('wakeUps')} wake-ups`)
})

for (const [line, name, count] of [
  ['T3', 'mutex/contended', THREADS],
  ['T4', 'mutex/handoff', 2]
] as const) {
  void t.test(`${line} ${name} - the plain counter equals the atomic one`, async (t) => {
    const threads = await startThreads(t, count)
    const memory = new SharedArrayBuffer(256)
    const words = new Int32Array(memory)
    const counting = threads.map((thread, id) =>
      thread.run(task<unknown, number>('countUnderMutex'), { memory, id })
    )
    await untilAllAreAtIt(words, count)
    Atomics.store(words, STOP, 1)
    const turns = await Promise.all(counting)
    t.equal(words[PLAIN], words[ATOMIC])
    t.equal(
      words[PLAIN],
      turns.reduce((total, n) => total + n, 0)
    )
    t.ok(
      turns.every((n) => n > 0),
      `every thread had its turns: ${turns.join(', ')}`
    )
  })
}
