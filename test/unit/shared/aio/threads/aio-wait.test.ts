/** Waiting for bottom halves of other threads, and for what other threads bring about. */
import t from 'tap'
import { AioContext } from '../../../../../shared/aio/aio-context.ts'
import { aioWaitWhile, aioWaitWhileSync } from '../../../../../shared/aio/aio-wait.ts'
import {
  aioWaitBhOneshot,
  aioWaitBhOneshotSync,
  BottomHalf,
  scheduleRemote,
  type BottomHalfHandle
} from '../../../../../shared/aio/bottom-half.ts'
import { NBDError } from '../../../../../shared/errors/nbd-error.ts'
import type { EntryPoint } from '../../../../../shared/aio/entry-point.ts'
import { startThreads } from '../../../../helpers/iothreads.ts'
import { inThread } from '../../../../helpers/thread.ts'
import { waitFor, within } from '../../../../helpers/wait-for.ts'
import { COUNTER, GATE, PHASE, type GateTask } from './tasks.ts'

const tasks = new URL('./tasks.js', import.meta.url).href
const task = <A, R>(name: string): EntryPoint<A, R> => ({ module: tasks, name })

const MAKE = task<GateTask, BottomHalfHandle>('makeGated')
const PARK = task<{ memory: SharedArrayBuffer; then: 'nothing' | 'cancel' | 'delete' }, void>('park')
const WAIT = task<BottomHalfHandle, void>('waitSync')

const newMemory = (): SharedArrayBuffer => new SharedArrayBuffer(64)

function open(words: Int32Array): void {
  Atomics.store(words, GATE, 1)
  Atomics.notify(words, GATE)
}

void t.test(
  'aioWaitBhOneshot - has run since then: pending, again, and from a thread that blocks',
  async (t) => {
    const [home, other] = await startThreads(t, 2)
    const memory = newMemory()
    const words = new Int32Array(memory)
    const handle = await home!.run(MAKE, { memory })
    await aioWaitBhOneshot(handle)
    t.equal(words[COUNTER], 1)
    await other!.run(WAIT, handle)
    t.equal(words[COUNTER], 2)

    const parked = home!.run(PARK, { memory, then: 'nothing' })
    await waitFor('the thread to be parked', () => Atomics.load(words, PHASE) === 1)
    scheduleRemote(handle)
    const waits = [aioWaitBhOneshot(handle), aioWaitBhOneshot(handle)]
    open(words)
    await Promise.all([parked, ...waits])
    t.equal(words[COUNTER], 3, 'one run for all who asked before it')
  }
)

void t.test('aioWaitBhOneshot - a run that goes on already is not the one', async (t) => {
  const [home, other] = await startThreads(t, 2)
  for (const wait of [aioWaitBhOneshot, (handle: BottomHalfHandle) => other!.run(WAIT, handle)]) {
    const memory = newMemory()
    const words = new Int32Array(memory)
    const handle = await home!.run(MAKE, { memory, gated: true })
    scheduleRemote(handle)
    await waitFor('the bottom half to run', () => Atomics.load(words, PHASE) === 1)
    const waiting = wait(handle)
    open(words)
    await waiting
    t.equal(words[COUNTER], 2)
  }
})

for (const then of ['cancel', 'delete'] as const) {
  void t.test(`aioWaitBhOneshot - ends after a ${then}, without a run`, async (t) => {
    const [home, other] = await startThreads(t, 2)
    const memory = newMemory()
    const words = new Int32Array(memory)
    const handle = await home!.run(MAKE, { memory })
    const parked = home!.run(PARK, { memory, then })
    await waitFor('the thread to be parked', () => Atomics.load(words, PHASE) === 1)
    scheduleRemote(handle)
    const wait = aioWaitBhOneshot(handle)
    open(words)
    await parked
    await wait
    t.equal(words[COUNTER], 0)
    await within('a wait afterwards', other!.run(WAIT, handle))
    t.equal(words[COUNTER], then === 'cancel' ? 1 : 0)
  })
}

void t.test('aioWaitBhOneshot - a context that ends ends the wait', async (t) => {
  const [home, other] = await startThreads(t, 2)
  const memory = newMemory()
  const words = new Int32Array(memory)
  const handle = await home!.run(MAKE, { memory })
  const parked = home!.run(PARK, { memory, then: 'nothing' }).catch(() => undefined)
  await waitFor('the thread to be parked', () => Atomics.load(words, PHASE) === 1)
  const waits = [aioWaitBhOneshot(handle), other!.run(WAIT, handle)].map((wait) =>
    t.rejects(within('the end of the wait', wait), { kind: 'bug', message: /has ended/ })
  )
  await home!.stop()
  await Promise.all(waits)
  await parked
  await t.rejects(aioWaitBhOneshot(handle), { kind: 'bug', message: /has ended/ })
})

void t.test('aioWaitBhOneshotSync - a thread does not block for itself', async (t) => {
  const bh = new BottomHalf(() => undefined)
  t.throws(() => aioWaitBhOneshotSync(bh.handle), NBDError)
  t.equal(await AioContext.current().poll(false), false, 'it was not scheduled')
  await aioWaitBhOneshot(bh.handle)
  bh.delete()
})

void t.test('aioWaitWhile - no kick from another thread is missed', async (t) => {
  const memory = newMemory()
  const words = new Int32Array(memory)
  const turns = 10_000
  const kicking = inThread(t, tasks, 'kickInTurn', { memory, turns })
  for (let i = 0; i < turns; i++) {
    await aioWaitWhile(() => Atomics.load(words, COUNTER) === i)
    Atomics.store(words, PHASE, i + 1)
    Atomics.notify(words, PHASE)
  }
  await kicking
  t.equal(words[COUNTER], turns)
})

void t.test('aioWaitWhileSync - a thread that blocks misses no kick from another', async (t) => {
  const memory = newMemory()
  const words = new Int32Array(memory)
  const turns = 10_000
  const kicking = inThread(t, tasks, 'kickInTurn', { memory, turns })
  await aioWaitWhile(() => Atomics.load(words, COUNTER) === 0)
  for (let i = 0; i < turns; i++) {
    aioWaitWhileSync(() => Atomics.load(words, COUNTER) === i)
    Atomics.store(words, PHASE, i + 1)
    Atomics.notify(words, PHASE)
  }
  await kicking
  t.equal(words[COUNTER], turns)
  t.throws(
    () =>
      aioWaitWhileSync(() => {
        throw new Error('no')
      }),
    { message: 'no' }
  )
})

void t.test('aioWaitWhile - what the condition throws ends the wait', async (t) => {
  await aioWaitWhile(() => false)
  await t.rejects(
    aioWaitWhile(() => {
      throw new Error('no')
    }),
    { message: 'no' }
  )
})
