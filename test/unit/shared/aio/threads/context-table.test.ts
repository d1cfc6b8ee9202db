/** Contexts that end, whatever others are doing with them. */
import { readdirSync } from 'node:fs'
import t from 'tap'
import { AioContext } from '../../../../../shared/aio/aio-context.ts'
import { BottomHalf, scheduleRemote, type BottomHalfHandle } from '../../../../../shared/aio/bottom-half.ts'
import {
  BH_SCHEDULED,
  claimContext,
  contextBase,
  enqueueSlot,
  isLive,
  MAX_CONTEXTS,
  notify,
  releaseContext,
  slotOf,
  type AioContextHandle
} from '../../../../../shared/aio/context-table.ts'
import { RemoteContext } from '../../../../../shared/aio/remote-context.ts'
import { IOThread } from '../../../../../shared/iothread/io-thread.ts'
import type { EntryPoint } from '../../../../../shared/aio/entry-point.ts'
import { startThreads } from '../../../../helpers/iothreads.ts'
import { waitFor, within } from '../../../../helpers/wait-for.ts'
import { COUNTER, PHASE, type GateTask } from './tasks.ts'

const task = <A, R>(name: string): EntryPoint<A, R> => ({
  module: new URL('./tasks.js', import.meta.url).href,
  name
})
const CONTEXT = task<undefined, AioContextHandle>('context')
const MAKE = task<GateTask, BottomHalfHandle>('makeGated')
const PARK = task<{ memory: SharedArrayBuffer; then: 'nothing' }, void>('park')

const newMemory = (): SharedArrayBuffer => new SharedArrayBuffer(64)
const descriptors = (): number => readdirSync('/proc/self/fd').length

/** A thread on an entry of the table that others have had. */
async function successor(entry: AioContextHandle): Promise<{ thread: IOThread; context: AioContextHandle }> {
  const thread = await IOThread.start('next')
  const context = await thread.run(CONTEXT, undefined)
  if (contextBase(context) !== contextBase(entry)) throw new Error('the table has a lower entry that is free')
  return { thread, context }
}

void t.test(
  'context table - more threads than it has entries leave no entry and no descriptor',
  async (t) => {
    const atATime = 4
    AioContext.current()
    // All entries but those that the threads need are taken.
    const taken = Array.from({ length: MAX_CONTEXTS - 1 - atATime }, () => claimContext().handle)
    t.teardown(() => taken.map(releaseContext))
    const batch = async (): Promise<void> => {
      const threads = await startThreads(t, atATime)
      const contexts = await Promise.all(threads.map((thread) => thread.run(CONTEXT, undefined)))
      t.ok(contexts.every(isLive))
      t.throws(() => claimContext(), /more than 128 threads/)
      await Promise.all(threads.map((thread) => thread.stop()))
      t.notOk(contexts.some(isLive))
    }
    await batch()
    const before = descriptors()
    for (let i = 0; i < 3; i++) await batch()
    t.equal(descriptors(), before)
  }
)

void t.test(
  'context table - what is scheduled in a context that has ended does not reach its successor',
  async (t) => {
    const [thread] = await startThreads(t, 1)
    const memory = newMemory()
    const words = new Int32Array(memory)
    const old = await thread!.run(CONTEXT, undefined)
    const oldHandle = await thread!.run(MAKE, { memory })
    await thread!.stop()
    scheduleRemote(oldHandle)
    notify(old)
    const next = await successor(old)
    t.teardown(() => next.thread.stop())
    const handle = await next.thread.run(MAKE, { memory })
    t.equal(slotOf(handle), slotOf(oldHandle))
    t.not(handle, oldHandle)
    scheduleRemote(oldHandle)
    notify(old)
    scheduleRemote(handle)
    await waitFor('its own wake-up', () => Atomics.load(words, COUNTER) > 0)
    await next.thread.run(CONTEXT, undefined)
    t.equal(words[COUNTER], 1)
  }
)

void t.test('context table - a context that ends does not hang those who wait for it', async (t) => {
  const [thread] = await startThreads(t, 1)
  const memory = newMemory()
  const words = new Int32Array(memory)
  const context = await thread!.run(CONTEXT, undefined)
  const parked = thread!.run(PARK, { memory, then: 'nothing' }).catch(() => undefined)
  await waitFor('the thread to be parked', () => Atomics.load(words, PHASE) === 1)
  const waiting = t.rejects(within('the monitor', new RemoteContext(context).acquire()), /abandoned/)
  await thread!.stop()
  await Promise.all([waiting, parked])
  await t.rejects(new RemoteContext(context).acquire(), { kind: 'bug', message: /ended/ })
  t.throws(() => new RemoteContext(context).acquireSync(), /ended/)
})

void t.test('context table - a context may end while a monitor has it', async (t) => {
  const [thread] = await startThreads(t, 1)
  const context = await thread!.run(CONTEXT, undefined)
  const remote = new RemoteContext(context)
  await remote.acquire()
  await remote.acquire()
  await thread!.stop()
  const next = await successor(context)
  t.teardown(() => next.thread.stop())
  const nextRemote = new RemoteContext(next.context)
  await within('the successor', nextRemote.acquire())
  remote.release()
  remote.release()
  nextRemote.release()
  t.throws(() => nextRemote.release(), /does not hold it/, 'it was held once')
})

void t.test(
  'context table - who is stopped between scheduling and waking has not put others to sleep',
  async (t) => {
    const [thread] = await startThreads(t, 1)
    await thread!.run(CONTEXT, undefined)
    const ctx = AioContext.current()
    ctx.ref()
    let runs = 0
    const bh = new BottomHalf(() => runs++)
    // As far as the other thread would have come.
    enqueueSlot(contextBase(ctx.handle), slotOf(bh.handle), BH_SCHEDULED)
    await new Promise((resolve) => setImmediate(resolve))
    t.equal(runs, 0)
    await thread!.stop()
    await waitFor('the bottom half', () => runs === 1)
    bh.delete()
    ctx.unref()
  }
)
