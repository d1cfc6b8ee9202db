/** What the tests of this folder run in other threads. */
import { AioContext } from '../../../../shared/aio/aio-context.ts'
import { aioCoWake, coAwait } from '../../../../shared/coroutine/aio-co.ts'
import { CoMutexShared } from '../../../../shared/coroutine/co-mutex-shared.ts'
import { Coroutine, type CoroutineFn, type CoroutineHandle } from '../../../../shared/coroutine/coroutine.ts'

export function wake(handle: CoroutineHandle): void {
  aioCoWake(handle)
}

/** Words of the memory that the threads of a test share. */
export const STOP = 0
export const ATOMIC = 1
export const PLAIN = 2
export const MUTEX = 4
/** Whether the coroutine of thread i is parked. */
export const PARKED = 16
/** How often thread i had its turn, so far. */
export const TURNS = 24

/** Adds to a plain and an atomic counter under one CoMutex, until told to stop, from two coroutines of the thread. */
export async function countUnderMutex({
  memory,
  id
}: {
  memory: SharedArrayBuffer
  id: number
}): Promise<number> {
  const words = new Int32Array(memory)
  const mutex = new CoMutexShared(words, MUTEX)
  let turns = 0
  const body = function* (): CoroutineFn {
    while (Atomics.load(words, STOP) === 0) {
      yield* mutex.lock()
      words[PLAIN] = words[PLAIN]! + 1
      Atomics.add(words, ATOMIC, 1)
      turns++
      mutex.unlock()
      Atomics.store(words, TURNS + id, turns)
      // Lets the loop turn, as I/O would.
      if (turns % 64 === 0) yield* coAwait(new Promise<void>((resolve) => setImmediate(resolve)))
    }
  }
  await Promise.all([Coroutine.start(body), Coroutine.start(body)])
  return turns
}

let parked: Coroutine | undefined
let run: ((start: { handles: CoroutineHandle[] }) => void) | undefined
let finished: Promise<{ wakeUps: number; entries: number }> | undefined

/** Makes the thread's coroutine for `passWakeUps`, which waits to be started. */
export function prepareToPass({ memory, id }: { memory: SharedArrayBuffer; id: number }): CoroutineHandle {
  const words = new Int32Array(memory)
  const started = new Promise<{ handles: CoroutineHandle[] }>((resolve) => (run = resolve))
  let wakeUps = 0
  let entries = 0
  const co: Coroutine = Coroutine.create(function* (): CoroutineFn {
    const { handles } = yield* coAwait(started)
    const park = function* (): CoroutineFn {
      Atomics.store(words, PARKED + id, 1)
      yield* Coroutine.yield()
      entries++
      if (Atomics.load(words, PARKED + id) !== 0) throw new Error('entered without having been woken')
    }
    // Two are on their way at any time; the others are parked.
    if (id >= 2) yield* park()
    while (Atomics.load(words, STOP) === 0) {
      const next = Math.floor(Math.random() * handles.length)
      // Whoever takes the mark away is the one who wakes.
      if (Atomics.exchange(words, PARKED + next, 0) !== 1) continue
      aioCoWake(handles[next]!)
      wakeUps++
      Atomics.store(words, TURNS + id, wakeUps)
      yield* park()
    }
  })
  AioContext.current().ref()
  parked = co
  const { handle } = co
  co.enter()
  finished = co.finished.then(() => ({ wakeUps, entries }))
  return handle
}

/** Passes wake-ups to random threads until told to stop. @returns how many it gave and got */
export function passWakeUps(start: {
  handles: CoroutineHandle[]
}): Promise<{ wakeUps: number; entries: number }> {
  run!(start)
  return finished!
}

/** Wakes the thread's coroutine if it is parked, so that it sees that it is to stop. */
export function release({ memory, id }: { memory: SharedArrayBuffer; id: number }): boolean {
  const was = Atomics.exchange(new Int32Array(memory), PARKED + id, 0) === 1
  if (was) parked!.schedule()
  return was
}
