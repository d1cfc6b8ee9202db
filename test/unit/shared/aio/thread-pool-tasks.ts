/** What the tests of the thread pool run in its threads. */
import { threadId } from 'node:worker_threads'
import { AioContext } from '../../../../shared/aio/aio-context.ts'
import type { EntryPoint } from '../../../../shared/aio/entry-point.ts'
import { threadPool } from '../../../../shared/aio/thread-pool.ts'

const entry = <A, R>(name: string): EntryPoint<A, R> => ({ module: import.meta.url, name })

// Words of the memory that test and jobs share.
/** Not 0: parked jobs go on. */
export const GATE = 0
/** Jobs that are parked. */
export const PARKED = 1
/** Most of them at a time. */
export const PEAK = 2
/** Jobs that have begun. */
export const BEGUN = 3
/** State of job i, as in test-thread-pool.c: 1 has begun, 3 has ended, 4 is not to begin. */
export const JOBS = 16

export interface JobArgument {
  memory: SharedArrayBuffer
  id: number
}

export const newMemory = (): SharedArrayBuffer => new SharedArrayBuffer(1024)

export function openGate(memory: SharedArrayBuffer): void {
  const words = new Int32Array(memory)
  Atomics.store(words, GATE, 1)
  Atomics.notify(words, GATE)
}

export const COUNT = entry<JobArgument, number>('count')
/** @returns how often the job ran before */
export const count = ({ memory, id }: JobArgument): number =>
  Atomics.add(new Int32Array(memory), JOBS + id, 1)

export const NOTE_ORDER = entry<JobArgument, void>('noteOrder')
/** The job's place among those that have begun. */
export function noteOrder({ memory, id }: JobArgument): void {
  const words = new Int32Array(memory)
  words[JOBS + id] = Atomics.add(words, BEGUN, 1)
}

export const PARK = entry<JobArgument, number>('park')
/** Blocks its thread until the gate is open. @returns its thread */
export function park({ memory }: JobArgument): number {
  const words = new Int32Array(memory)
  const parked = Atomics.add(words, PARKED, 1) + 1
  if (parked > Atomics.load(words, PEAK)) Atomics.store(words, PEAK, parked)
  Atomics.wait(words, GATE, 0)
  Atomics.sub(words, PARKED, 1)
  return threadId
}

export const LONG = entry<JobArgument, number>('long')
/** `long_cb` of test-thread-pool.c, parked where that sleeps. */
export function long({ memory, id }: JobArgument): number {
  const words = new Int32Array(memory)
  if (Atomics.compareExchange(words, JOBS + id, 0, 1) === 0) {
    Atomics.add(words, PARKED, 1)
    Atomics.wait(words, GATE, 0)
    Atomics.or(words, JOBS + id, 2)
  }
  return 0
}

export const THREAD = entry<undefined, number>('thread')
export const thread = (): number => threadId

export const CONTEXT = entry<undefined, number>('context')
export const context = (): number => AioContext.current().handle

export const DIE_WAITING = entry<string, never>('dieWaiting')
/** An exception that nobody catches, while the job waits for something. */
export function dieWaiting(message: string): Promise<never> {
  setImmediate(() => {
    throw new TypeError(message)
  })
  return new Promise(() => undefined)
}

export const EXIT_WAITING = entry<number, never>('exitWaiting')
export const exitWaiting = (status: number): never => process.exit(status)

export const DIE_PARKED = entry<JobArgument, never>('dieParked')
export function dieParked(argument: JobArgument): Promise<never> {
  park(argument)
  return dieWaiting('at last')
}

export const DIE_LATER = entry<JobArgument, void>('dieLater')
/** An exception that nobody catches, after the job has ended and the gate is open. */
export function dieLater({ memory }: JobArgument): void {
  const poll = setInterval(() => {
    if (Atomics.load(new Int32Array(memory), GATE) === 0) return
    clearInterval(poll)
    throw new Error('left behind')
  }, 1)
}

export const DEEP = entry<number, unknown>('deep')
/** Arrays within arrays. */
export function deep(levels: number): unknown {
  let result: unknown[] = []
  for (let i = 0; i < levels; i++) result = [result]
  return result
}

export const SUM = entry<Uint8Array, number>('sum')
export const sum = (bytes: Uint8Array): number => bytes.reduce((total, byte) => total + byte, 0)

export const NESTED = entry<JobArgument, number>('nested')
/** Has the pool of its own thread do it. */
export const nested = (argument: JobArgument): Promise<number> => threadPool().submit(PARK, argument).result
