/** What the tests of this folder, and those of test/stress, run in other threads. */
import { AioContext } from '../../../../shared/aio/aio-context.ts'
import type { AioContextHandle } from '../../../../shared/aio/context-table.ts'
import { QemuMutex } from '../../../../shared/aio/qemu-mutex.ts'
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
/** Of the MCS lock: the last in its queue. */
export const MCS_TAIL = 12
/** Whether the coroutine of thread i is parked. */
export const PARKED = 16
/** How often thread i had its turn, so far. */
export const TURNS = 24
/** Two words for each thread: its node in the MCS lock's queue. */
export const MCS_NODES = 32

export interface CountTask {
  memory: SharedArrayBuffer
  /** Of the thread, from 0. */
  id: number
}

/** Lets the loop turn, as I/O would. */
const turn = (): CoroutineFn => coAwait(new Promise<void>((resolve) => setImmediate(resolve)))

/** Adds to a plain and an atomic counter under one CoMutex, until told to stop, from two coroutines of the thread. */
export async function countUnderMutex({ memory, id }: CountTask): Promise<number> {
  const words = new Int32Array(memory)
  const mutex = new CoMutexShared(words, MUTEX)
  let turns = 0
  const body = function* (): CoroutineFn {
    while (Atomics.load(words, STOP) === 0) {
      yield* mutex.lock()
      countUp(words)
      mutex.unlock()
      Atomics.store(words, TURNS + id, ++turns)
      if (turns % 64 === 0) yield* turn()
    }
  }
  await Promise.all([Coroutine.start(body), Coroutine.start(body)])
  return turns
}

/** As `countUnderMutex`, under a lock that blocks the thread. */
export async function countUnderQemuMutex({ memory, id }: CountTask): Promise<number> {
  const words = new Int32Array(memory)
  const mutex = new QemuMutex(words, MUTEX)
  return countUnder(
    words,
    id,
    () => mutex.lock(),
    () => mutex.unlock()
  )
}

/** As `countUnderMutex`, under the queue lock of Mellor-Crummey and Scott: each thread waits at a word of its own. */
export async function countUnderMcsLock({ memory, id }: CountTask): Promise<number> {
  const words = new Int32Array(memory)
  const next = MCS_NODES + 2 * id
  const locked = next + 1
  const lock = (): void => {
    Atomics.store(words, next, 0)
    Atomics.store(words, locked, 1)
    const before = Atomics.exchange(words, MCS_TAIL, next)
    if (before === 0) return
    Atomics.store(words, before, next)
    while (Atomics.load(words, locked) !== 0) Atomics.wait(words, locked, 1)
  }
  const unlock = (): void => {
    if (Atomics.compareExchange(words, MCS_TAIL, next, 0) === next) return
    // Somebody is behind us, and about to say who.
    let after = Atomics.load(words, next)
    while (after === 0) after = Atomics.load(words, next)
    Atomics.store(words, after + 1, 0)
    Atomics.notify(words, after + 1)
  }
  return countUnder(words, id, lock, unlock)
}

async function countUnder(
  words: Int32Array,
  id: number,
  lock: () => void,
  unlock: () => void
): Promise<number> {
  let turns = 0
  while (Atomics.load(words, STOP) === 0) {
    lock()
    countUp(words)
    unlock()
    Atomics.store(words, TURNS + id, ++turns)
    if (turns % 64 === 0) await new Promise<void>((resolve) => setImmediate(resolve))
  }
  return turns
}

function countUp(words: Int32Array): void {
  words[PLAIN] = words[PLAIN]! + 1
  Atomics.add(words, ATOMIC, 1)
}

/** Makes a coroutine that notes each of its entries in the word ATOMIC, and ends after `entries` of them. */
export function makeSleeper({ memory, entries }: { memory: SharedArrayBuffer; entries: number }): {
  context: AioContextHandle
  handle: CoroutineHandle
} {
  const words = new Int32Array(memory)
  const ctx = AioContext.current()
  ctx.ref()
  const co = Coroutine.create(function* (): CoroutineFn {
    for (let i = 0; i < entries; i++) {
      yield* Coroutine.yield()
      Atomics.add(words, ATOMIC, 1)
      Atomics.notify(words, ATOMIC)
    }
    ctx.unref()
  })
  const { handle } = co
  co.enter()
  return { context: ctx.handle, handle }
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
