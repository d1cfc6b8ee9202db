/** What coroutines can wait for, whether it lies in one thread or is shared by several. */
import type { CoroutineFn } from './coroutine.ts'

/** @see QemuLockable, CoMutex */
export interface CoLockable {
  /** Waits until the lock is the current coroutine's; first come, first served. Not recursive. */
  lock(): CoroutineFn
  /** @returns whether it was free and is the current coroutine's now */
  tryLock(): boolean
  /** Hands it to the longest waiter. @throws NBDError of kind `bug` when the current coroutine does not hold it */
  unlock(): void
}

/** @see CoQueue */
export interface CoWaitQueue {
  /** Nobody waits. Out of date at once when it is shared. */
  readonly empty: boolean
  /**
   * Waits until somebody lets the coroutine go on.
   *
   * @param lock is given back meanwhile, and held again afterwards
   * @param front before all that wait already
   */
  wait(lock?: CoLockable, front?: boolean): CoroutineFn
  /** Lets the longest waiter go on. @returns whether there was one */
  next(): boolean
  /** Lets all go on that wait now, in their order. */
  restartAll(): void
}

/** @see CoRwlock */
export interface CoReadWriteLock {
  rdlock(): CoroutineFn
  wrlock(): CoroutineFn
  /** A reader becomes a writer, behind all that wait already; another writer may come before it. */
  upgrade(): CoroutineFn
  /** A writer becomes a reader, without waiting, and the readers behind it come in. */
  downgrade(): void
  unlock(): void
}
