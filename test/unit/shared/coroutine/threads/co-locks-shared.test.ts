/** CoQueue and CoRwlock between five threads. */
import t from 'tap'
import { CoQueueShared } from '../../../../../shared/coroutine/co-queue-shared.ts'
import type { EntryPoint } from '../../../../../shared/aio/entry-point.ts'
import { startThreads } from '../../../../helpers/iothreads.ts'
import { waitFor } from '../../../../helpers/wait-for.ts'
import {
  DONE,
  ITEMS,
  ORDER,
  PLAIN,
  QUEUE,
  STARTED,
  TAKEN,
  WAITING,
  WORDS,
  WRONG,
  type Task
} from './tasks.ts'

const THREADS = 5

const task = <A extends Task, R>(name: string): EntryPoint<A, R> => ({
  module: new URL('./tasks.js', import.meta.url).href,
  name
})

const newMemory = (): SharedArrayBuffer => new SharedArrayBuffer(4 * WORDS)

void t.test('CoQueueShared - first in, first out over threads; each goes on in its own', async (t) => {
  const threads = await startThreads(t, THREADS)
  const memory = newMemory()
  const words = new Int32Array(memory)
  const queue = new CoQueueShared(words, QUEUE)
  const ends: Promise<boolean>[] = []
  const WAIT = task<Task & { front: boolean }, boolean>('waitInQueue')
  for (const [i, thread] of threads.entries()) {
    ends.push(thread.run(WAIT, { memory, id: i + 1, front: i === 4 }))
    await waitFor(`waiter ${i + 1}`, () => Atomics.load(words, WAITING) === i + 1)
  }
  t.equal(queue.empty, false)
  for (const [i, order] of [5, 51, 512].entries()) {
    t.equal(queue.next(), true)
    await waitFor(`waiter ${order % 10}`, () => Atomics.load(words, WAITING) === 4 - i)
    t.equal(words[ORDER], order)
  }
  queue.restartAll()
  t.same(await Promise.all(ends), [true, true, true, true, true])
  t.match(String(words[ORDER]), /^512(34|43)$/)
  t.equal(queue.empty, true)
  t.equal(queue.next(), false)
})

void t.test('CoQueueShared - a bounded buffer: every item is taken once', async (t) => {
  const threads = await startThreads(t, THREADS)
  const memory = newMemory()
  const words = new Int32Array(memory)
  const took = await Promise.all(
    threads.map((thread, i) =>
      thread.run(task<Task, number | undefined>(i < 2 ? 'produce' : 'consume'), { memory, id: i + 1 })
    )
  )
  t.ok(
    words.subarray(TAKEN).every((times) => times === 1),
    'once'
  )
  t.equal(
    took.reduce<number>((total, n) => total + (n ?? 0), 0),
    ITEMS
  )
})

void t.test('CoRwlockShared - readers of all threads read together', async (t) => {
  const threads = await startThreads(t, THREADS)
  const memory = newMemory()
  const read = task<Task & { count: number }, void>('readTogether')
  await Promise.all(threads.map((thread, i) => thread.run(read, { memory, id: i + 1, count: THREADS })))
  t.pass('none had to wait for another to end')
})

void t.test('CoRwlockShared - a writer is alone, and comes in however many read on', async (t) => {
  const threads = await startThreads(t, THREADS)
  const memory = newMemory()
  const words = new Int32Array(memory)
  const turns = 50
  const readers = threads
    .slice(0, 3)
    .map((thread, i) => thread.run(task<Task, number>('readOn'), { memory, id: i + 1 }))
  await waitFor('all to read', () => Atomics.load(words, STARTED) === readers.length)
  await Promise.all(
    threads
      .slice(3)
      .map((thread, i) =>
        thread.run(task<Task & { turns: number }, void>('write'), { memory, id: i + 4, turns })
      )
  )
  Atomics.store(words, DONE, 1)
  const reads = await Promise.all(readers)
  t.equal(words[WRONG], 0)
  t.equal(words[PLAIN], 4 * turns, 'two threads, each writes twice in a turn')
  t.ok(
    reads.every((n) => n > 1),
    `readers had their turns: ${reads.join(', ')}`
  )
})
