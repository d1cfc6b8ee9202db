/** What the tests of this folder run in other threads. */
import { threadId } from 'node:worker_threads'
import { coAwait } from '../../../../../shared/coroutine/aio-co.ts'
import { CO_MUTEX_WORDS, CoMutexShared } from '../../../../../shared/coroutine/co-mutex-shared.ts'
import { CO_QUEUE_WORDS, CoQueueShared } from '../../../../../shared/coroutine/co-queue-shared.ts'
import { CO_RWLOCK_WORDS, CoRwlockShared } from '../../../../../shared/coroutine/co-rwlock-shared.ts'
import { Coroutine, type CoroutineFn } from '../../../../../shared/coroutine/coroutine.ts'

export interface Task {
  memory: SharedArrayBuffer
  /** Of the thread, from 1. */
  id: number
}

/** Lets the loop turn, as I/O would. */
const turn = (): CoroutineFn => coAwait(new Promise<void>((resolve) => setImmediate(resolve)))

// Words of the shared memory.
const MUTEX = 0
export const QUEUE = MUTEX + CO_MUTEX_WORDS
const OTHER_QUEUE = QUEUE + CO_QUEUE_WORDS
const RWLOCK = OTHER_QUEUE + CO_QUEUE_WORDS
/** How many wait in the queue. */
export const WAITING = RWLOCK + CO_RWLOCK_WORDS
/** The numbers of those that went on, as decimal digits. */
export const ORDER = WAITING + 1
export const READERS = ORDER + 1
export const WRITERS = READERS + 1
/** Counted up by writers, plainly. */
export const PLAIN = WRITERS + 1
/** What must not be was seen so often. */
export const WRONG = PLAIN + 1
/** Writers have done what they were to do. */
export const DONE = WRONG + 1
/** Threads that have read once. */
export const STARTED = DONE + 1
/** Items produced, taken out of the buffer, and in it. */
export const PRODUCED = STARTED + 1
export const CONSUMED = PRODUCED + 1
const FIRST = CONSUMED + 1
export const BUFFER = FIRST + 1
export const CAPACITY = 4
/** How often item i was taken. */
export const TAKEN = BUFFER + CAPACITY
export const ITEMS = 5000
export const WORDS = TAKEN + ITEMS

/** Waits in the queue. @returns whether it went on in this thread */
export async function waitInQueue({ memory, id, front }: Task & { front: boolean }): Promise<boolean> {
  const words = new Int32Array(memory)
  const queue = new CoQueueShared(words, QUEUE)
  let thread: number | undefined
  const waiting = Coroutine.start(function* (): CoroutineFn {
    yield* queue.wait(undefined, front)
    let order: number
    do order = Atomics.load(words, ORDER)
    while (Atomics.compareExchange(words, ORDER, order, order * 10 + id) !== order)
    thread = threadId
    Atomics.sub(words, WAITING, 1)
  })
  // It has yielded, and is in the queue.
  Atomics.add(words, WAITING, 1)
  await waiting
  return thread === threadId
}

/** Puts ITEMS numbers into the buffer, together with the other producers. */
export async function produce({ memory }: Task): Promise<void> {
  const words = new Int32Array(memory)
  const { mutex, notEmpty, notFull } = buffer(words)
  await Coroutine.start(function* (): CoroutineFn {
    for (;;) {
      yield* mutex.lock()
      while (words[PRODUCED]! - words[CONSUMED]! === CAPACITY) yield* notFull.wait(mutex)
      const item = words[PRODUCED]!
      if (item < ITEMS) {
        words[BUFFER + (item % CAPACITY)] = item
        words[PRODUCED] = item + 1
        notEmpty.next()
      } else {
        notFull.restartAll()
      }
      mutex.unlock()
      if (item >= ITEMS) return
    }
  })
}

/** Takes items out of the buffer until all have been taken. @returns how many it took */
export async function consume({ memory }: Task): Promise<number> {
  const words = new Int32Array(memory)
  const { mutex, notEmpty, notFull } = buffer(words)
  let took = 0
  await Coroutine.start(function* (): CoroutineFn {
    for (;;) {
      yield* mutex.lock()
      while (words[PRODUCED] === words[CONSUMED] && words[CONSUMED]! < ITEMS) yield* notEmpty.wait(mutex)
      const at = words[CONSUMED]!
      if (at < ITEMS) {
        const item = words[BUFFER + (at % CAPACITY)]!
        words[TAKEN + item] = words[TAKEN + item]! + 1
        words[CONSUMED] = at + 1
        took++
        notFull.next()
      } else {
        notEmpty.restartAll()
      }
      mutex.unlock()
      if (at >= ITEMS) return
    }
  })
  return took
}

const buffer = (
  words: Int32Array
): { mutex: CoMutexShared; notEmpty: CoQueueShared; notFull: CoQueueShared } => ({
  mutex: new CoMutexShared(words, MUTEX),
  notEmpty: new CoQueueShared(words, QUEUE),
  notFull: new CoQueueShared(words, OTHER_QUEUE)
})

/** Reads until `count` threads read at the same time. */
export function readTogether({ memory, count }: Task & { count: number }): Promise<void> {
  const words = new Int32Array(memory)
  const lock = new CoRwlockShared(words, RWLOCK)
  return Coroutine.start(function* (): CoroutineFn {
    yield* lock.rdlock()
    Atomics.add(words, READERS, 1)
    while (Atomics.load(words, READERS) < count) yield* turn()
    lock.unlock()
  })
}

/** Reads again and again, until the writers are done. @returns how often */
export async function readOn({ memory }: Task): Promise<number> {
  const words = new Int32Array(memory)
  const lock = new CoRwlockShared(words, RWLOCK)
  let reads = 0
  const body = function* (): CoroutineFn {
    while (Atomics.load(words, DONE) === 0) {
      yield* lock.rdlock()
      reading(words, 1)
      yield* turn()
      reading(words, -1)
      lock.unlock()
      if (reads++ === 0) Atomics.add(words, STARTED, 1)
    }
  }
  // Two that overlap: there is always a reader.
  await Promise.all([Coroutine.start(body), Coroutine.start(body)])
  return reads
}

/** Writes, upgrades and downgrades, `turns` times. */
export function write({ memory, turns }: Task & { turns: number }): Promise<void> {
  const words = new Int32Array(memory)
  const lock = new CoRwlockShared(words, RWLOCK)
  const writing = (): void => {
    if (Atomics.add(words, WRITERS, 1) !== 0 || Atomics.load(words, READERS) !== 0)
      Atomics.add(words, WRONG, 1)
    words[PLAIN] = words[PLAIN]! + 1
    Atomics.sub(words, WRITERS, 1)
  }
  return Coroutine.start(function* (): CoroutineFn {
    for (let i = 0; i < turns; i++) {
      yield* lock.wrlock()
      writing()
      lock.downgrade()
      reading(words, 1)
      yield* turn()
      reading(words, -1)
      yield* lock.upgrade()
      writing()
      lock.unlock()
    }
  })
}

function reading(words: Int32Array, change: number): void {
  Atomics.add(words, READERS, change)
  if (Atomics.load(words, WRITERS) !== 0) Atomics.add(words, WRONG, 1)
}
