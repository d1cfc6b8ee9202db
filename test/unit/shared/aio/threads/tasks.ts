/** What the tests of this folder run in other threads. */
import { AioContext } from '../../../../../shared/aio/aio-context.ts'
import { aioWaitKick } from '../../../../../shared/aio/aio-wait.ts'
import {
  aioWaitBhOneshotSync,
  BottomHalf,
  scheduleRemote,
  type BottomHalfHandle
} from '../../../../../shared/aio/bottom-half.ts'
import type { AioContextHandle } from '../../../../../shared/aio/context-table.ts'
import { RemoteContext } from '../../../../../shared/aio/remote-context.ts'
import { RFifoLock } from '../../../../../shared/aio/rfifolock.ts'

export interface LockTask {
  memory: SharedArrayBuffer
  turns: number
}

// Words of the shared memory of the lock tests, behind the lock's own four.
export const COUNTER = 4
export const CONTENTIONS = 5
export const PHASE = 6

/** Adds to a plain counter under the lock. */
export function countUnderLock({ memory, turns }: LockTask): void {
  const words = new Int32Array(memory)
  const lock = new RFifoLock(words, 0, () => Atomics.add(words, CONTENTIONS, 1))
  for (let i = 0; i < turns; i++) {
    lock.lock()
    words[COUNTER] = words[COUNTER]! + 1
    lock.unlock()
  }
}

/** Asks for the lock, and notes its number when it has it. */
export function noteOrder({ memory, id }: { memory: SharedArrayBuffer; id: number }): void {
  const words = new Int32Array(memory)
  const lock = new RFifoLock(words, 0, () => {
    Atomics.add(words, PHASE, 1)
    Atomics.notify(words, PHASE)
  })
  lock.lock()
  words[COUNTER] = words[COUNTER]! * 10 + id
  lock.unlock()
}

/** Schedules a bottom half of another thread, waiting each time until it has run. */
export function scheduleInTurn({ handle, memory, turns }: { handle: BottomHalfHandle } & LockTask): void {
  const words = new Int32Array(memory)
  for (let i = 0; i < turns; i++) {
    scheduleRemote(handle)
    // The bottom half counts up; if its wake-up were lost, this would wait for ever.
    while (Atomics.load(words, COUNTER) === i) Atomics.wait(words, COUNTER, i)
  }
}

/** Schedules many bottom halves of another thread, again and again, without waiting. */
export function scheduleMany({ handles, times }: { handles: BottomHalfHandle[]; times: number }): void {
  for (let i = 0; i < times; i++) for (const handle of handles) scheduleRemote(handle)
}

/** Takes a context's lock in turn with its loop. */
export function monitor({ context, memory, turns }: { context: AioContextHandle } & LockTask): void {
  const words = new Int32Array(memory)
  const remote = new RemoteContext(context)
  for (let i = 0; i < turns; i++) {
    remote.acquireSync()
    remote.acquireSync()
    words[COUNTER] = words[COUNTER]! + 1
    remote.release()
    remote.release()
  }
}

/** Closed at first: 0. */
export const GATE = 7

export interface GateTask {
  memory: SharedArrayBuffer
  /** Its first run stands at the gate. */
  gated?: boolean
}

let bh: BottomHalf | undefined

/** A bottom half of this thread that counts its runs, each at its end. */
export function makeGated({ memory, gated = false }: GateTask): BottomHalfHandle {
  const words = new Int32Array(memory)
  AioContext.current().ref()
  bh = new BottomHalf(() => {
    if (gated) stand(words)
    Atomics.add(words, COUNTER, 1)
  })
  return bh.handle
}

/** Keeps the thread from doing anything until the gate is open, and then does something to its bottom half. */
export function park({
  memory,
  then
}: {
  memory: SharedArrayBuffer
  then: 'nothing' | 'cancel' | 'delete'
}): void {
  stand(new Int32Array(memory))
  if (then === 'cancel') bh!.cancel()
  if (then === 'delete') bh!.delete()
}

function stand(words: Int32Array): void {
  Atomics.store(words, PHASE, 1)
  while (Atomics.load(words, GATE) === 0) Atomics.wait(words, GATE, 0)
}

/** Blocks until a bottom half of another thread has run. */
export const waitSync = (handle: BottomHalfHandle): void => aioWaitBhOneshotSync(handle)

/** Counts up, and kicks; each time until the other side has seen it. */
export function kickInTurn({ memory, turns }: LockTask): void {
  const words = new Int32Array(memory)
  for (let i = 0; i < turns; i++) {
    Atomics.add(words, COUNTER, 1)
    aioWaitKick()
    while (Atomics.load(words, PHASE) === i) Atomics.wait(words, PHASE, i)
  }
}

/** This thread's context. */
export function context(): AioContextHandle {
  const ctx = AioContext.current()
  ctx.ref()
  return ctx.handle
}
