import t from 'tap'
import { slotWord, WAITS, words } from '../../../../shared/aio/context-table.ts'
import { Coroutine, type CoroutineFn, type CoroutineHandle } from '../../../../shared/coroutine/coroutine.ts'
import { becomeWaiter, grant, untilGranted, WAITS_FOR_TURN } from '../../../../shared/coroutine/waiter.ts'

void t.test('waiter - goes on when it is woken, not when it sees that it has been granted', async (t) => {
  let entries = 0
  const co = Coroutine.create(function* (): CoroutineFn {
    const self = becomeWaiter(WAITS_FOR_TURN)
    // Where a granting thread stands between its two steps.
    Atomics.store(words, slotWord(WAITS, self), 0)
    yield* untilGranted(self)
    entries++
  })
  co.enter()
  t.equal(entries, 0, 'the wake-up that follows would find it ended')
  grant(co.handle)
  t.equal(entries, 1)
})

void t.test('waiter - waits on when somebody else enters it', async (t) => {
  let handle: CoroutineHandle | undefined
  const co = Coroutine.create(function* (): CoroutineFn {
    handle = becomeWaiter(WAITS_FOR_TURN)
    yield* untilGranted(handle)
  })
  co.enter()
  co.enter()
  t.equal(co.ended, false)
  grant(handle!)
  t.equal(co.ended, true)
})

void t.test('Coroutine - a wake-up that comes too late does not cost the others theirs', async (t) => {
  let uncaught: ((error: Error) => void) | undefined
  const error = new Promise<Error>((resolve) => (uncaught = resolve))
  process.prependOnceListener('uncaughtException', uncaught!)
  const sleeper = (): Coroutine => {
    const co = Coroutine.create(() => Coroutine.yield())
    co.enter()
    return co
  }
  const [twice, other] = [sleeper(), sleeper()]
  Coroutine.create(function* (): CoroutineFn {
    twice.wake()
    twice.wake()
    other.wake()
  }).enter()
  t.ok(twice.ended && other.ended)
  t.match(await error, { kind: 'bug', message: /after it has ended/ })
})
