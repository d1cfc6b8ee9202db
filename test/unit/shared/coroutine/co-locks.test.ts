/** test-coroutine.c's cases of locks: each lock within a thread, and the one between threads used by one. */
import t from 'tap'
import type { CoLockable, CoReadWriteLock, CoWaitQueue } from '../../../../shared/coroutine/co-lock.ts'
import { CO_MUTEX_WORDS, CoMutexShared } from '../../../../shared/coroutine/co-mutex-shared.ts'
import { CoMutex } from '../../../../shared/coroutine/co-mutex.ts'
import { CO_QUEUE_WORDS, CoQueueShared } from '../../../../shared/coroutine/co-queue-shared.ts'
import { CoQueue } from '../../../../shared/coroutine/co-queue.ts'
import { CO_RWLOCK_WORDS, CoRwlockShared } from '../../../../shared/coroutine/co-rwlock-shared.ts'
import { CoRwlock } from '../../../../shared/coroutine/co-rwlock.ts'
import { coSleep, coTimeout, CoSleep, TIMED_OUT } from '../../../../shared/coroutine/co-sleep.ts'
import { Coroutine, type CoroutineFn } from '../../../../shared/coroutine/coroutine.ts'
import { NBDError } from '../../../../shared/errors/nbd-error.ts'

interface Form {
  form: string
  newMutex: () => CoLockable
  newQueue: () => CoWaitQueue
  newRwlock: () => CoReadWriteLock
}

const sharedWords = (count: number): Int32Array => new Int32Array(new SharedArrayBuffer(4 * count))

const forms: Form[] = [
  {
    form: 'within a thread',
    newMutex: () => new CoMutex(),
    newQueue: () => new CoQueue(),
    newRwlock: () => new CoRwlock()
  },
  {
    form: 'between threads',
    newMutex: () => new CoMutexShared(sharedWords(CO_MUTEX_WORDS), 0),
    newQueue: () => new CoQueueShared(sharedWords(CO_QUEUE_WORDS), 0),
    newRwlock: () => new CoRwlockShared(sharedWords(CO_RWLOCK_WORDS), 0)
  }
]

/** Whether nobody holds it. */
function isFree(mutex: CoLockable): boolean {
  let free = false
  Coroutine.create(function* (): CoroutineFn {
    free = mutex.tryLock()
    if (free) mutex.unlock()
  }).enter()
  return free
}

/** Holds it as a writer, and notes that. */
function* writes(lock: CoReadWriteLock, note: () => void): CoroutineFn {
  yield* lock.wrlock()
  note()
  lock.unlock()
}

for (const { form, newMutex, newQueue, newRwlock } of forms) {
  // C10's null lockable is a wait without a lock here: in the test of CoQueue.
  for (const name of ['C9 co-mutex', 'C10 co-mutex/lockable']) {
    void t.test(`${name} ${form} - the second waits, and has it when the first gives it back`, async (t) => {
      const lockable = newMutex()
      let holders = 0
      let done = 0
      const body = function* (): CoroutineFn {
        yield* lockable.lock()
        t.equal(++holders, 1)
        yield* Coroutine.yield()
        holders--
        lockable.unlock()
        done++
      }
      const [c1, c2] = [Coroutine.create(body), Coroutine.create(body)]
      c1.enter()
      t.equal(isFree(lockable), false)
      c2.enter()
      t.equal(holders, 1)
      c1.enter()
      t.equal(done, 1)
      t.equal(isFree(lockable), false, 'handed over')
      c2.enter()
      t.equal(done, 2)
      t.equal(isFree(lockable), true)
    })
  }

  void t.test(`CoMutex ${form} - first come, first served; misuse is refused`, async (t) => {
    const mutex = newMutex()
    const order: number[] = []
    const all = [1, 2, 3, 4].map((i) =>
      Coroutine.start(function* (): CoroutineFn {
        yield* mutex.lock()
        order.push(i)
        yield* coSleep('monotonic', 1e6)
        mutex.unlock()
      })
    )
    await Promise.all(all)
    t.same(order, [1, 2, 3, 4])
    await Coroutine.start(function* (): CoroutineFn {
      t.throws(() => mutex.unlock(), NBDError)
      t.equal(mutex.tryLock(), true)
      t.equal(mutex.tryLock(), false)
      t.throws(() => mutex.lock().next(), NBDError, 'not recursive')
      mutex.unlock()
    })
  })

  void t.test(
    `C11 co-rwlock/upgrade ${form} - the upgrading reader goes behind the writer that waits`,
    async (t) => {
      const lock = newRwlock()
      const order: string[] = []
      const c1 = Coroutine.create(function* (): CoroutineFn {
        yield* lock.rdlock()
        yield* Coroutine.yield()
        yield* lock.upgrade()
        order.push('upgraded')
        lock.unlock()
      })
      const c2 = Coroutine.create(() => writes(lock, () => order.push('writer')))
      c1.enter()
      c2.enter()
      t.same(order, [])
      c1.enter()
      t.same(order, ['writer', 'upgraded'])
      t.ok(c1.ended && c2.ended)
    }
  )

  void t.test(
    `C12 co-rwlock/downgrade ${form} - the following reader is let in, then the last writer`,
    async (t) => {
      const lock = newRwlock()
      const order: string[] = []
      const c1 = Coroutine.create(function* (): CoroutineFn {
        yield* lock.rdlock()
        yield* Coroutine.yield()
        lock.unlock()
        order.push('c1')
      })
      const c2 = Coroutine.create(function* (): CoroutineFn {
        yield* lock.wrlock()
        lock.downgrade()
        order.push('c2 downgraded')
        yield* Coroutine.yield()
        lock.unlock()
        order.push('c2')
      })
      const c3 = Coroutine.create(function* (): CoroutineFn {
        yield* lock.rdlock()
        order.push('c3 reads')
        lock.unlock()
      })
      const c4 = Coroutine.create(() => writes(lock, () => order.push('c4 writes')))
      for (const co of [c1, c2, c3, c4]) co.enter()
      t.same(order, [])
      c1.enter()
      t.same(order, ['c1', 'c2 downgraded', 'c3 reads'])
      c2.enter()
      t.same(order, ['c1', 'c2 downgraded', 'c3 reads', 'c2', 'c4 writes'])
    }
  )

  void t.test(`CoQueue ${form} - waiting gives the lock back, and holds it again afterwards`, async (t) => {
    const mutex = newMutex()
    const queue = newQueue()
    const order: string[] = []
    const waiter = (name: string, front: boolean): Promise<void> =>
      Coroutine.start(function* (): CoroutineFn {
        yield* mutex.lock()
        yield* queue.wait(mutex, front)
        t.throws(() => mutex.lock().next(), NBDError, 'it is held')
        order.push(name)
        mutex.unlock()
      })
    const bare = Coroutine.start(function* (): CoroutineFn {
      yield* queue.wait()
      order.push('without a lock')
    })
    t.equal(queue.next(), true)
    await bare
    t.same(order.splice(0), ['without a lock'])
    const all = [waiter('second', false), waiter('third', false), waiter('first', true)]
    t.equal(isFree(mutex), true)
    t.equal(queue.empty, false)
    t.equal(queue.next(), true)
    t.same(order, ['first'])
    queue.restartAll()
    await Promise.all(all)
    t.same(order, ['first', 'second', 'third'])
    t.equal(queue.next(), false)
  })
}

void t.test('CoSleep - sleeps its time, and can be woken early', async (t) => {
  const start = performance.now()
  await Coroutine.start(() => coSleep('monotonic', 20e6))
  t.ok(performance.now() - start >= 20)
  const sleep = new CoSleep()
  const woken = Coroutine.start(() => sleep.sleep('monotonic', 3600e9))
  sleep.wake()
  await woken
})

void t.test('coTimeout - gives up in time, while the function goes on; else gives its result', async (t) => {
  let ended = false
  let cleaned: (() => void) | undefined
  const clean = new Promise<void>((resolve) => (cleaned = resolve))
  const slow = function* (): CoroutineFn<number> {
    yield* coSleep('monotonic', 50e6)
    ended = true
    return 1
  }
  const outcome = await Coroutine.start(() => coTimeout(slow, 5e6, cleaned))
  t.equal(outcome, TIMED_OUT)
  t.equal(ended, false)
  await clean
  t.equal(ended, true)
  t.equal(await Coroutine.start(() => coTimeout(slow, 0)), 1)
})
