/** `npm run bench -- core`: what scheduling, waking and locking cost. */
import { MessageChannel } from 'node:worker_threads'
import { AioContext } from '../../shared/aio/aio-context.ts'
import { BottomHalf, scheduleRemote, type BottomHalfHandle } from '../../shared/aio/bottom-half.ts'
import { RFifoLock } from '../../shared/aio/rfifolock.ts'
import { CoMutex } from '../../shared/coroutine/co-mutex.ts'
import { CoMutexShared } from '../../shared/coroutine/co-mutex-shared.ts'
import { Coroutine, type CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { IOThread } from '../../shared/iothread/io-thread.ts'
import type { EntryPoint } from '../../shared/aio/entry-point.ts'
import { throughThreadPool } from './core-pool.ts'
import { LOCK, MUTEX, PING, PONG } from './core-tasks.ts'
import { measure, printTable } from './measure.ts'

/** Bottom halves that are scheduled together. */
const BURST = 256

const task = <A, R>(name: string): EntryPoint<A, R> => ({
  module: new URL('./core-tasks.js', import.meta.url).href,
  name
})

const ctx = AioContext.current()

/** Runs `step` until it has been called back `count` times. */
function times(count: number, step: () => void, arm: (callback: () => void) => void): Promise<void> {
  return new Promise((resolve) => {
    let left = count
    arm(() => (--left > 0 ? step() : resolve()))
    step()
  })
}

async function withinThread(count: number, rounds: number): Promise<void> {
  let ran: () => void = () => undefined
  const bh = new BottomHalf(() => ran())
  const loop = function* (n: number): CoroutineFn {
    for (let i = 0; i < n; i++) yield* Coroutine.yield()
  }
  const mutex = new CoMutex()
  const shared = new CoMutexShared(new Int32Array(new SharedArrayBuffer(8)), 0)
  const lock = new RFifoLock(new Int32Array(new SharedArrayBuffer(16)), 0)
  const lockMany = (lockable: CoMutex | CoMutexShared) => (n: number) => {
    Coroutine.create(function* (): CoroutineFn {
      for (let i = 0; i < n; i++) {
        yield* lockable.lock()
        lockable.unlock()
      }
    }).enter()
  }
  const figures = await measure(
    [
      {
        name: 'setImmediate (reference)',
        run: (n) =>
          times(
            n,
            () => setImmediate(() => ran()),
            (callback) => (ran = callback)
          )
      },
      {
        name: 'bottom half: schedule and run',
        run: (n) =>
          times(
            n,
            () => bh.schedule(),
            (callback) => (ran = callback)
          )
      },
      {
        name: 'coroutine: create, enter, finish',
        run: (n) => {
          for (let i = 0; i < n; i++) Coroutine.create(function* (): CoroutineFn {}).enter()
        }
      },
      {
        name: 'coroutine: yield and enter',
        run: (n) => {
          const co = Coroutine.create(() => loop(n))
          for (let i = 0; i <= n; i++) co.enter()
        }
      },
      { name: 'CoMutex within a thread: lock and unlock', run: lockMany(mutex) },
      { name: 'CoMutex between threads, free: lock and unlock', run: lockMany(shared) },
      {
        name: 'RFifoLock, free: lock and unlock',
        run: (n) => {
          for (let i = 0; i < n; i++) {
            lock.lock()
            lock.unlock()
          }
        }
      }
    ],
    count,
    rounds
  )
  printTable('Within a thread', figures)
  bh.delete()
}

async function betweenThreads(count: number, rounds: number): Promise<void> {
  const thread = await IOThread.start('io0')
  const memory = new SharedArrayBuffer(64)
  const words = new Int32Array(memory)
  let came: () => void = () => undefined
  const back = new BottomHalf(() => came())

  const { port1, port2 } = new MessageChannel()
  port1.on('message', () => came())
  await thread.run(task('echo'), { to: port2, burst: 1 }, [port2])
  const bulk = new MessageChannel()
  const bulkThread = await IOThread.start('io1')
  bulk.port1.on('message', () => came())
  await bulkThread.run(task('echo'), { to: bulk.port2, burst: BURST }, [bulk.port2])
  const sinks = await bulkThread.run(task<unknown, BottomHalfHandle[]>('sink'), {
    back: back.handle,
    burst: BURST
  })

  const roundTrips = (pollMaxNs: number) => async (n: number) => {
    ctx.polling.options = { ...ctx.polling.options, pollMaxNs }
    const there = await thread.run(task<unknown, BottomHalfHandle>('pong'), { back: back.handle, pollMaxNs })
    await times(
      n,
      () => scheduleRemote(there),
      (callback) => (came = callback)
    )
    ctx.polling.options = { ...ctx.polling.options, pollMaxNs: 0 }
  }

  ctx.ref()
  const trips = await measure(
    [
      {
        name: 'postMessage',
        run: (n) =>
          times(
            n,
            () => port1.postMessage(0),
            (callback) => (came = callback)
          )
      },
      {
        name: 'Atomics.waitAsync',
        run: async (n) => {
          const start = Atomics.load(words, PONG)
          const echoing = thread.run(task('waitAsyncEcho'), { memory, count: n })
          for (let i = 0; i < n; i++) {
            Atomics.add(words, PING, 1)
            Atomics.notify(words, PING)
            const wait = Atomics.waitAsync(words, PONG, start + i)
            if (wait.async) await wait.value
          }
          await echoing
        }
      },
      { name: 'bottom half, sleeping loops', run: roundTrips(0) },
      { name: 'bottom half, polling loops (poll-max-ns 1 ms)', run: roundTrips(1_000_000) }
    ],
    count,
    rounds
  )
  printTable('Round trip between two threads', trips, 'postMessage')

  const bursts = await measure(
    [
      {
        name: `postMessage, ${BURST} together`,
        run: (n) =>
          times(
            n,
            () => {
              for (let i = 0; i < BURST; i++) bulk.port1.postMessage(0)
            },
            (callback) => (came = callback)
          )
      },
      {
        name: `bottom halves, ${BURST} together`,
        run: (n) =>
          times(
            n,
            () => {
              for (const handle of sinks) scheduleRemote(handle)
            },
            (callback) => (came = callback)
          )
      }
    ],
    Math.ceil(count / 8),
    rounds
  )
  printTable(`To another thread, each of ${BURST}`, bursts.map(each), `postMessage, ${BURST} together`)

  const lock = new RFifoLock(words, LOCK)
  const mutex = new CoMutexShared(words, MUTEX)
  const contended = await measure(
    [
      {
        name: 'RFifoLock, two threads in turn',
        run: async (n) => {
          const other = thread.run(task('lockInTurn'), { memory, count: n })
          for (let i = 0; i < n; i++) {
            lock.lock()
            lock.unlock()
          }
          await other
        }
      },
      {
        name: 'CoMutex, two threads',
        run: async (n) => {
          const other = thread.run(task('mutexInTurn'), { memory, count: n })
          await Coroutine.start(function* (): CoroutineFn {
            for (let i = 0; i < n; i++) {
              yield* mutex.lock()
              mutex.unlock()
            }
          })
          await other
        }
      }
    ],
    count,
    rounds
  )
  printTable('Contended', contended)

  ctx.unref()
  back.delete()
  port1.close()
  bulk.port1.close()
  await Promise.all([thread.stop(), bulkThread.stop()])
}

const each = ({ name, ns, min, max }: { name: string; ns: number; min: number; max: number }) => ({
  name,
  ns: ns / BURST,
  min: min / BURST,
  max: max / BURST
})

/** @param quick a few moments, to see that it works */
export async function core(quick: boolean): Promise<void> {
  const rounds = quick ? 1 : 9
  await withinThread(quick ? 1_000 : 100_000, rounds)
  await betweenThreads(quick ? 200 : 10_000, rounds)
  await throughThreadPool(quick ? 200 : 5_000, rounds)
}
