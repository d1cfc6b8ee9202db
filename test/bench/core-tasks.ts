/** What the benchmark of the core runs in its two IOThreads: one begins, the other answers. */
import type { MessagePort } from 'node:worker_threads'
import { AioContext } from '../../shared/aio/aio-context.ts'
import { BottomHalf, scheduleRemote, type BottomHalfHandle } from '../../shared/aio/bottom-half.ts'
import { RFifoLock } from '../../shared/aio/rfifolock.ts'
import { CoMutexShared } from '../../shared/coroutine/co-mutex-shared.ts'
import { Coroutine, type CoroutineFn } from '../../shared/coroutine/coroutine.ts'

// Words of the shared memory.
const LOCK = 0
const MUTEX = 4
const PING = 10
const PONG = 11
/** As one of 64 bits: when the last wake-up was sent, in ns. */
const SENT = 6

interface Ping {
  memory: SharedArrayBuffer
  count: number
}

/** By their bursts. */
const ports = new Map<number, MessagePort>()
let came: () => void = () => undefined
const arrivals: number[] = []

/** Of one clock for all threads. */
const sent = (memory: SharedArrayBuffer): (() => void) => {
  const times = new BigInt64Array(memory)
  return () => (times[SENT] = process.hrtime.bigint())
}

const arrived = (memory: SharedArrayBuffer): (() => void) => {
  const times = new BigInt64Array(memory)
  return () => arrivals.push(Number(process.hrtime.bigint() - times[SENT]!))
}

/** Median time from sending to arrival, in ns, since it was last asked for. @context answering thread */
export function medianArrival(): number {
  const sorted = arrivals.splice(0).sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)]!
}

export function setPolling({ pollMaxNs }: { pollMaxNs: number }): void {
  const { polling } = AioContext.current()
  polling.options = { ...polling.options, pollMaxNs }
}

/** What the answering thread schedules. @context beginning thread */
export function back(): BottomHalfHandle {
  AioContext.current().ref()
  return new BottomHalf(() => came()).handle
}

/** Answers each scheduling of the returned bottom half by scheduling `back`. */
export function pong({
  back,
  memory
}: {
  back: BottomHalfHandle
  memory: SharedArrayBuffer
}): BottomHalfHandle {
  AioContext.current().ref()
  const note = arrived(memory)
  return new BottomHalf(() => {
    note()
    scheduleRemote(back)
  }).handle
}

/** Bottom halves of this thread that do nothing but count; `back` is scheduled after each `burst` of them. */
export function sink({ back, burst }: { back: BottomHalfHandle; burst: number }): BottomHalfHandle[] {
  let runs = 0
  const count = (): void => {
    if (++runs % burst === 0) scheduleRemote(back)
  }
  return Array.from({ length: burst }, () => new BottomHalf(count).handle)
}

/** Schedules bottom halves of the other thread, waits for its answer, and so on. */
export function pingBottomHalf({
  memory,
  count,
  handles
}: Ping & { handles: BottomHalfHandle[] }): Promise<void> {
  const stamp = sent(memory)
  return times(count, () => {
    stamp()
    for (const handle of handles) scheduleRemote(handle)
  })
}

/** Answers messages: each by itself, or one for every `burst`. */
export function echo({
  to,
  burst,
  memory
}: {
  to: MessagePort
  burst: number
  memory: SharedArrayBuffer
}): void {
  const note = burst === 1 ? arrived(memory) : () => undefined
  let messages = 0
  to.on('message', () => {
    note()
    if (++messages % burst === 0) to.postMessage(0)
  })
}

export function connect({ to, burst }: { to: MessagePort; burst: number }): void {
  ports.set(burst, to)
  to.on('message', () => came())
}

/** Posts messages to the other thread, waits for its answer, and so on. */
export function pingMessage({ memory, count, burst }: Ping & { burst: number }): Promise<void> {
  const port = ports.get(burst)!
  const stamp = sent(memory)
  return times(count, () => {
    stamp()
    for (let i = 0; i < burst; i++) port.postMessage(0)
  })
}

/** Runs `step` until the answer has come `count` times. */
function times(count: number, step: () => void): Promise<void> {
  return new Promise((resolve) => {
    let left = count
    came = () => (--left > 0 ? step() : resolve())
    step()
  })
}

/** Wakes the other thread by Atomics.notify, waits for its answer, and so on. */
export async function pingWaitAsync({ memory, count }: Ping): Promise<void> {
  const words = new Int32Array(memory)
  const stamp = sent(memory)
  const start = Atomics.load(words, PONG)
  for (let i = 0; i < count; i++) {
    stamp()
    Atomics.add(words, PING, 1)
    Atomics.notify(words, PING)
    const wait = Atomics.waitAsync(words, PONG, start + i)
    if (wait.async) await wait.value
  }
}

/** Answers by Atomics.notify, `count` times. */
export async function waitAsyncEcho({ memory, count }: Ping): Promise<void> {
  const words = new Int32Array(memory)
  const note = arrived(memory)
  const start = Atomics.load(words, PONG)
  for (let i = 0; i < count; i++) {
    const wait = Atomics.waitAsync(words, PING, start + i)
    if (wait.async) await wait.value
    note()
    Atomics.add(words, PONG, 1)
    Atomics.notify(words, PONG)
  }
}

/** Takes the lock in turn with the other thread. */
export function lockInTurn({ memory, count }: Ping): void {
  const lock = new RFifoLock(new Int32Array(memory), LOCK)
  for (let i = 0; i < count; i++) {
    lock.lock()
    lock.unlock()
  }
}

/** Takes the mutex against the other thread. */
export function mutexInTurn({ memory, count }: Ping): Promise<void> {
  const mutex = new CoMutexShared(new Int32Array(memory), MUTEX)
  return Coroutine.start(function* (): CoroutineFn {
    for (let i = 0; i < count; i++) {
      yield* mutex.lock()
      mutex.unlock()
    }
  })
}

/** A job that costs nothing itself. */
export const addOne = (value: number): number => value + 1
