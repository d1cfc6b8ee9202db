/**
 * test-io-task.c. There is no QIOTask here: an operation that completes later is a promise, which a coroutine waits for
 * by `coAwait`, and what is to run in another thread is named, and run by `IOThread.run`. So these are the promises that
 * QIOTask makes, held by those.
 */
import { threadId } from 'node:worker_threads'
import t from 'tap'
import { coAwait } from '../../../../shared/coroutine/aio-co.ts'
import { coTimeout, TIMED_OUT } from '../../../../shared/coroutine/co-sleep.ts'
import { Coroutine, type CoroutineFn } from '../../../../shared/coroutine/coroutine.ts'
import { NBDError } from '../../../../shared/errors/nbd-error.ts'
import { IOThread } from '../../../../shared/iothread/io-thread.ts'
import type { EntryPoint } from '../../../../shared/aio/entry-point.ts'
import { waitFor, within } from '../../../helpers/wait-for.ts'

/** An operation that completes when it is told to. */
function operation<T>(): { result: Promise<T>; complete: (value: T) => void; fail: (error: Error) => void } {
  let complete!: (value: T) => void
  let fail!: (error: Error) => void
  const result = new Promise<T>((resolve, reject) => {
    complete = resolve
    fail = reject
  })
  return { result, complete, fail }
}

const entry: EntryPoint<{ fails: boolean }, number> = {
  module: new URL('./tasks.js', import.meta.url).href,
  name: 'work'
}

void t.test('I18 task/complete: whoever waits goes on once, with the result', async (t) => {
  const { result, complete } = operation<string>()
  let entered = 0
  const waiting = Coroutine.start(function* (): CoroutineFn<string> {
    const value = yield* coAwait(result)
    entered++
    return value
  })
  t.equal(entered, 0)
  complete('done')
  complete('again')
  t.equal(await within('the coroutine', waiting), 'done')
  t.equal(entered, 1)
})

// QEMU frees the task, and never calls back. A promise cannot be taken away; whoever waits can give up.
void t.test('I19 task/cancel: whoever gave up does not hear of it any more', async (t) => {
  const { result, complete } = operation<string>()
  const seen: unknown[] = []
  let cleaned = 0
  await Coroutine.start(function* (): CoroutineFn {
    const wait = (): CoroutineFn<string> => coAwait(result)
    seen.push(
      yield* coTimeout(wait, 1, () => {
        cleaned++
      })
    )
  })
  t.same(seen, [TIMED_OUT])
  t.equal(cleaned, 0, 'the operation goes on')
  complete('too late')
  await waitFor('the operation to end', () => cleaned === 1)
  t.same(seen, [TIMED_OUT])
})

void t.test('I20 task/datafree: what belongs to the operation is given back, however it ends', async (t) => {
  for (const fails of [false, true]) {
    const { result, complete, fail } = operation<string>()
    let freed = 0
    const waiting = Coroutine.start(function* (): CoroutineFn<string> {
      try {
        return yield* coAwait(result)
      } finally {
        freed++
      }
    })
    t.equal(freed, 0)
    if (fails) fail(new Error('some error'))
    else complete('done')
    await waiting.catch(() => undefined)
    t.equal(freed, 1)
  }
})

void t.test('I21 task/failure: the error reaches whoever waits, as it is', async (t) => {
  const { result, fail } = operation<string>()
  const error = new NBDError('transport', 'some error')
  const waiting = Coroutine.start(function* (): CoroutineFn<unknown> {
    try {
      return yield* coAwait(result)
    } catch (caught) {
      return caught
    }
  })
  fail(error)
  t.equal(await within('the coroutine', waiting), error)
})

void t.test('I22 task/thread_complete: work in another thread, completion in our own', async (t) => {
  const thread = await IOThread.start('io0')
  t.teardown(() => thread.stop())
  const [worker, completed] = await Coroutine.start(function* (): CoroutineFn<[number, number]> {
    const worker = yield* coAwait(thread.run(entry, { fails: false }))
    return [worker, threadId]
  })
  t.not(worker, threadId)
  t.equal(completed, threadId)
})

void t.test('I23 task/thread_failure: the error of another thread keeps kind, text and errno', async (t) => {
  const thread = await IOThread.start('io0')
  t.teardown(() => thread.stop())
  await t.rejects(
    Coroutine.start(() => coAwait(thread.run(entry, { fails: true }))),
    { name: 'NBDError', kind: 'transport', message: 'testing failure', errno: 32 }
  )
})
