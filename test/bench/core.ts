/** `npm run bench -- core`: what scheduling, waking and locking cost. */
import { MessageChannel } from 'node:worker_threads'
import { BottomHalf, type BottomHalfHandle } from '../../shared/aio/bottom-half.ts'
import { RFifoLock, RFIFOLOCK_WORDS } from '../../shared/aio/rfifolock.ts'
import { CoMutex } from '../../shared/coroutine/co-mutex.ts'
import { CO_MUTEX_WORDS, CoMutexShared } from '../../shared/coroutine/co-mutex-shared.ts'
import { Coroutine, type CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { IOThread } from '../../shared/iothread/io-thread.ts'
import type { EntryPoint } from '../../shared/aio/entry-point.ts'
import { throughThreadPool } from './core-pool.ts'
import { measure, printTable, type Contender } from './measure.ts'

/** Bottom halves that are scheduled together. */
const BURST = 256

const task = <A, R>(name: string): EntryPoint<A, R> => ({
  module: new URL('./core-tasks.js', import.meta.url).href,
  name
})

/** Runs `step` until it has been called back `count` times. */
function times(count: number, step: () => void, arm: (callback: () => void) => void): Promise<void> {
  return new Promise((resolve) => {
    let left = count
    arm(() => (--left > 0 ? step() : resolve()))
    step()
  })
}

/** Made once: V8 spends microseconds on the first call of each new generator function. */
function* nothing(): CoroutineFn {}

async function withinThread(count: number, rounds: number): Promise<void> {
  let ran: () => void = () => undefined
  const bh = new BottomHalf(() => ran())
  const loop = function* (n: number): CoroutineFn {
    for (let i = 0; i < n; i++) yield* Coroutine.yield()
  }
  const mutex = new CoMutex()
  const shared = new CoMutexShared(new Int32Array(new SharedArrayBuffer(4 * CO_MUTEX_WORDS)), 0)
  const lock = new RFifoLock(new Int32Array(new SharedArrayBuffer(4 * RFIFOLOCK_WORDS)), 0)
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
          for (let i = 0; i < n; i++) Coroutine.create(() => nothing()).enter()
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
  const [there, here] = await Promise.all([IOThread.start('io0'), IOThread.start('io1')])
  const memory = new SharedArrayBuffer(64)
  for (const burst of [1, BURST]) {
    const { port1, port2 } = new MessageChannel()
    await there.run(task('echo'), { to: port2, burst, memory }, [port2])
    await here.run(task('connect'), { to: port1, burst }, [port1])
  }
  const back = await here.run(task<undefined, BottomHalfHandle>('back'), undefined)
  const handle = await there.run(task<unknown, BottomHalfHandle>('pong'), { back, memory })
  const handles = await there.run(task<unknown, BottomHalfHandle[]>('sink'), { back, burst: BURST })

  const messages = (n: number, burst: number): Promise<void> =>
    here.run(task<unknown, void>('pingMessage'), { memory, count: n, burst })
  const bottomHalves = async (n: number, handles: BottomHalfHandle[], pollMaxNs: number): Promise<void> => {
    await Promise.all([here, there].map((thread) => thread.run(task('setPolling'), { pollMaxNs })))
    await here.run(task('pingBottomHalf'), { memory, count: n, handles })
    await Promise.all([here, there].map((thread) => thread.run(task('setPolling'), { pollMaxNs: 0 })))
  }
  const together = async (name: string): Promise<void> => {
    await Promise.all([here, there].map((thread) => thread.run(task(name), { memory, count })))
  }
  const waitAsync = async (n: number): Promise<void> => {
    const echoing = there.run(task('waitAsyncEcho'), { memory, count: n })
    await here.run(task('pingWaitAsync'), { memory, count: n })
    await echoing
  }
  const wakes: Contender[] = [
    { name: 'postMessage', run: (n) => messages(n, 1) },
    { name: 'Atomics.waitAsync', run: waitAsync },
    { name: 'bottom half, sleeping loops', run: (n) => bottomHalves(n, [handle], 0) },
    {
      name: 'bottom half, polling loops (poll-max-ns 1 ms)',
      run: (n) => bottomHalves(n, [handle], 1_000_000)
    }
  ]
  printTable('Round trip between two IOThreads', await measure(wakes, count, rounds), 'postMessage')
  const oneWay = wakes.map(({ name, run }) => ({
    name,
    run: async (n: number) => {
      await run(n)
      return there.run(task<undefined, number>('medianArrival'), undefined)
    }
  }))
  printTable(
    'One way between two IOThreads: median over all wake-ups',
    await measure(oneWay, count, rounds),
    'postMessage'
  )

  const bursts = await measure(
    [
      { name: `postMessage, ${BURST} together`, run: (n) => messages(n, BURST) },
      { name: `bottom halves, ${BURST} together`, run: (n) => bottomHalves(n, handles, 0) }
    ],
    Math.ceil(count / 8),
    rounds
  )
  printTable(
    `From one IOThread to another, each of ${BURST}`,
    bursts.map(each),
    `postMessage, ${BURST} together`
  )

  const contended = await measure(
    [
      { name: 'RFifoLock, handed over by two threads in turn', run: () => together('lockInTurn') },
      { name: 'CoMutex, two threads', run: () => together('mutexInTurn') }
    ],
    // Both take it so often.
    2 * count,
    rounds
  )
  printTable('Contended by two IOThreads, each lock and unlock', contended)
  await Promise.all([there.stop(), here.stop()])
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
