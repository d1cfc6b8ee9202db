/** test-aio.c's cases of event notifiers and timers, and test-nested-aio-poll.c. */
import t from 'tap'
import { AioContext } from '../../../../shared/aio/aio-context.ts'
import { EventNotifier } from '../../../../shared/aio/event-notifier.ts'
import { clockNs, Timer } from '../../../../shared/aio/timer.ts'

const ctx = AioContext.current()

void t.test('A8 event/add-remove - an inactive notifier is no progress', async (t) => {
  let calls = 0
  const notifier = new EventNotifier(() => calls++)
  t.equal(await ctx.poll(false), false)
  notifier.remove()
  t.equal(await ctx.poll(false), false)
  t.equal(calls, 0)
})

void t.test('A9 event/wait - one call for each set; none after removal', async (t) => {
  let calls = 0
  const notifier = new EventNotifier(() => calls++)
  for (let set = 1; set <= 3; set++) {
    notifier.set()
    t.equal(await ctx.poll(true), true)
    t.equal(calls, set)
    t.equal(await ctx.poll(false), false)
  }
  notifier.set()
  notifier.clear()
  t.equal(await ctx.poll(false), false)
  notifier.remove()
  t.equal(await ctx.poll(false), false)
  t.equal(calls, 3)
})

void t.test('A10 event/wait/no-flush-cb - setting one calls only that one', async (t) => {
  const calls = [0, 0]
  const [a, b] = [0, 1].map((i) => new EventNotifier(() => calls[i]!++))
  a!.set()
  t.equal(await ctx.poll(true), true)
  t.same(calls, [1, 0])
  b!.set()
  t.equal(await ctx.poll(true), true)
  t.same(calls, [1, 1])
  a!.remove()
  b!.remove()
})

void t.test(
  'A11 event/flush - a handler that sets its notifier again is called once in each poll',
  async (t) => {
    let calls = 0
    const notifier = new EventNotifier(() => {
      if (++calls < 10) notifier.set()
    })
    notifier.set()
    for (let poll = 1; poll <= 10; poll++) {
      t.equal(await ctx.poll(true), true)
      t.equal(calls, poll)
    }
    t.equal(await ctx.poll(false), false)
    notifier.remove()
  }
)

void t.test('A12 timer/schedule - fires once, not early, and can be armed again', async (t) => {
  for (const clock of ['monotonic', 'realtime'] as const) {
    let fired: (() => void) | undefined
    let calls = 0
    const timer = new Timer(clock, () => {
      calls++
      fired!()
    })
    for (const ms of [750, 20]) {
      const done = new Promise<void>((resolve) => (fired = resolve))
      const due = clockNs(clock) + ms * 1e6
      timer.arm(due)
      t.equal(timer.pending, true)
      await done
      t.ok(clockNs(clock) >= due, `${clock} ${ms} ms: not early`)
      t.equal(timer.pending, false)
    }
    t.equal(calls, 2)
    timer.arm(clockNs(clock) + 1e6)
    timer.cancel()
    t.equal(timer.pending, false)
    await new Promise((resolve) => setTimeout(resolve, 5))
    t.equal(calls, 2, 'a cancelled timer does not fire')
  }
})

// In JavaScript a handler cannot let the loop turn while it stands on the stack; the nearest to a nested poll is one
// that the handler starts and something else awaits.
void t.test(
  'N1 - a handler that polls is not entered again by its poll, which sees other work',
  async (t) => {
    let inside = 0
    let calls = 0
    let nested: Promise<boolean> | undefined
    const other = new EventNotifier(() => calls++)
    const notifier = new EventNotifier(() => {
      t.equal(inside, 0)
      inside++
      other.set()
      nested = ctx.poll(true)
      inside--
    })
    for (let i = 1; i <= 2; i++) {
      notifier.set()
      t.equal(await ctx.poll(true), true)
      t.equal(await nested, true)
      t.equal(calls, i)
      t.equal(await ctx.poll(false), false)
    }
    notifier.remove()
    other.remove()
  }
)
