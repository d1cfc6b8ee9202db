/** test-rfifolock.c, and order and exclusion between threads. */
import t from 'tap'
import { RFifoLock } from '../../../../../shared/aio/rfifolock.ts'
import { NBDError } from '../../../../../shared/errors/nbd-error.ts'
import { inThread } from '../../../../helpers/thread.ts'
import { waitFor } from '../../../../helpers/wait-for.ts'
import { CONTENTIONS, COUNTER, PHASE } from './tasks.ts'

const tasks = new URL('./tasks.js', import.meta.url).href
const newMemory = (): SharedArrayBuffer => new SharedArrayBuffer(64)

void t.test('F1 nesting - three locks need three unlocks', async (t) => {
  const words = new Int32Array(newMemory())
  const lock = new RFifoLock(words, 0)
  for (let i = 0; i < 3; i++) lock.lock()
  for (let i = 0; i < 3; i++) {
    t.equal(lock.held, true)
    lock.unlock()
  }
  t.equal(lock.held, false)
  t.throws(() => lock.unlock(), NBDError)
})

void t.test('F2 callback - a waiter calls it before it gets the lock', async (t) => {
  const memory = newMemory()
  const words = new Int32Array(memory)
  const lock = new RFifoLock(words, 0)
  lock.lock()
  const waiter = inThread(t, tasks, 'countUnderLock', { memory, turns: 1 })
  await waitFor('the contention callback', () => Atomics.load(words, CONTENTIONS) > 0)
  t.equal(words[COUNTER], 0)
  t.equal(lock.contended, true)
  lock.unlock()
  await waiter
  t.equal(words[COUNTER], 1)
})

void t.test('RFifoLock - serves in the order of asking', async (t) => {
  const memory = newMemory()
  const words = new Int32Array(memory)
  const lock = new RFifoLock(words, 0)
  lock.lock()
  const waiters: Promise<void>[] = []
  for (const id of [1, 2, 3]) {
    waiters.push(inThread(t, tasks, 'noteOrder', { memory, id }))
    // Its callback says that its ticket is drawn.
    await waitFor(`waiter ${id}`, () => Atomics.load(words, PHASE) === id)
  }
  lock.unlock()
  await Promise.all(waiters)
  t.equal(words[COUNTER], 123)
})

void t.test('RFifoLock - keeps threads apart', async (t) => {
  const memory = newMemory()
  const words = new Int32Array(memory)
  const turns = 20_000
  await Promise.all([1, 2, 3].map(() => inThread(t, tasks, 'countUnderLock', { memory, turns })))
  t.equal(words[COUNTER], 3 * turns)
})

void t.test('RFifoLock - a thread that must not block waits for its promise', async (t) => {
  const memory = newMemory()
  const words = new Int32Array(memory)
  const lock = new RFifoLock(words, 0)
  const others = [1, 2].map(() => inThread(t, tasks, 'countUnderLock', { memory, turns: 5_000 }))
  for (let i = 0; i < 500; i++) {
    await lock.lockAsync()
    words[COUNTER] = words[COUNTER]! + 1
    lock.unlock()
  }
  await Promise.all(others)
  t.equal(words[COUNTER], 10_500)
})
