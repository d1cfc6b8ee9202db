/** What the benchmark of the core runs in its second thread. */
import type { MessagePort } from 'node:worker_threads'
import { AioContext } from '../../shared/aio/aio-context.ts'
import { BottomHalf, scheduleRemote, type BottomHalfHandle } from '../../shared/aio/bottom-half.ts'
import { CoMutexShared } from '../../shared/coroutine/co-mutex-shared.ts'
import { Coroutine, type CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { RFifoLock } from '../../shared/aio/rfifolock.ts'

// Words of the shared memory.
export const LOCK = 0
export const MUTEX = 4
export const PING = 8
export const PONG = 9

let answer: BottomHalf | undefined
let port: MessagePort | undefined

/** Answers each scheduling of the returned bottom half by scheduling `back`. */
export function pong({ back, pollMaxNs }: { back: BottomHalfHandle; pollMaxNs: number }): BottomHalfHandle {
  const ctx = AioContext.current()
  ctx.ref()
  ctx.polling.options = { ...ctx.polling.options, pollMaxNs }
  answer?.delete()
  answer = new BottomHalf(() => scheduleRemote(back))
  return answer.handle
}

/** Bottom halves of this thread that do nothing but count; `back` is scheduled after each `burst` of them. */
export function sink({ back, burst }: { back: BottomHalfHandle; burst: number }): BottomHalfHandle[] {
  AioContext.current().ref()
  let runs = 0
  return Array.from(
    { length: burst },
    () =>
      new BottomHalf(() => {
        if (++runs % burst === 0) scheduleRemote(back)
      }).handle
  )
}

/** Answers messages: each by itself, or one for every `burst`. */
export function echo({ to, burst }: { to: MessagePort; burst: number }): void {
  port?.close()
  port = to
  let messages = 0
  to.on('message', () => {
    if (++messages % burst === 0) to.postMessage(0)
  })
}

/** Answers by Atomics.notify, `count` times. */
export async function waitAsyncEcho({
  memory,
  count
}: {
  memory: SharedArrayBuffer
  count: number
}): Promise<void> {
  const words = new Int32Array(memory)
  const start = Atomics.load(words, PONG)
  for (let i = 0; i < count; i++) {
    const wait = Atomics.waitAsync(words, PING, start + i)
    if (wait.async) await wait.value
    Atomics.add(words, PONG, 1)
    Atomics.notify(words, PONG)
  }
}

/** Takes the lock in turn with another thread. */
export function lockInTurn({ memory, count }: { memory: SharedArrayBuffer; count: number }): void {
  const lock = new RFifoLock(new Int32Array(memory), LOCK)
  for (let i = 0; i < count; i++) {
    lock.lock()
    lock.unlock()
  }
}

/** Takes the mutex against another thread. */
export function mutexInTurn({ memory, count }: { memory: SharedArrayBuffer; count: number }): Promise<void> {
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
