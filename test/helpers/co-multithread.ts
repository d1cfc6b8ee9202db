/** What test-aio-multithread.c does in all its threads at once, for the unit test and the stress test. */
import type { Test } from 'tap'
import type { CoroutineHandle } from '../../shared/coroutine/coroutine.ts'
import type { EntryPoint } from '../../shared/aio/entry-point.ts'
import { ATOMIC, PLAIN, STOP, TURNS, type CountTask } from '../unit/shared/coroutine/tasks.ts'
import { startThreads } from './iothreads.ts'
import { waitFor } from './wait-for.ts'

/** Turns that each thread has at the least. */
const AT_LEAST = 100

const task = <A, R>(name: string): EntryPoint<A, R> => ({
  module: new URL('../unit/shared/coroutine/tasks.js', import.meta.url).href,
  name
})

/** Waits until all are at it, and then for `ms` more. */
async function untilTimeIsUp(words: Int32Array, threads: number, ms: number): Promise<void> {
  for (let id = 0; id < threads; id++) {
    await waitFor(`thread ${id} to have its turns`, () => Atomics.load(words, TURNS + id) >= AT_LEAST, 60_000)
  }
  await new Promise((resolve) => setTimeout(resolve, ms))
}

/** Threads pass wake-ups to each other at random: each is counted where it is given, and where it arrives. */
export async function passWakeUps(t: Test, count: number, ms = 0): Promise<void> {
  const threads = await startThreads(t, count)
  const memory = new SharedArrayBuffer(256)
  const words = new Int32Array(memory)
  const handles: CoroutineHandle[] = await Promise.all(
    threads.map((thread, id) => thread.run(task<unknown, CoroutineHandle>('prepareToPass'), { memory, id }))
  )
  const passing = threads.map((thread) =>
    thread.run(task<unknown, { wakeUps: number; entries: number }>('passWakeUps'), { handles })
  )
  await untilTimeIsUp(words, count, ms)
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
  t.equal(sum('entries'), sum('wakeUps') + released, 'none lost, none doubled')
  t.ok(sum('wakeUps') >= count * AT_LEAST, `${sum('wakeUps')} wake-ups`)
}

/** Threads add to a plain and to an atomic counter, under the lock of `countTask`. */
export async function countTogether(t: Test, countTask: string, count: number, ms = 0): Promise<void> {
  const threads = await startThreads(t, count)
  const memory = new SharedArrayBuffer(256)
  const words = new Int32Array(memory)
  const counting = threads.map((thread, id) => thread.run(task<CountTask, number>(countTask), { memory, id }))
  await untilTimeIsUp(words, count, ms)
  Atomics.store(words, STOP, 1)
  const turns = await Promise.all(counting)
  t.equal(words[PLAIN], words[ATOMIC], 'the plain counter equals the atomic one')
  t.equal(
    words[PLAIN],
    turns.reduce((total, n) => total + n, 0)
  )
  t.ok(
    turns.every((n) => n >= AT_LEAST),
    `every thread had its turns: ${turns.join(', ')}`
  )
}
