/** test-aio.c's cases of bottom halves, and what they promise beyond. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import t from 'tap'
import { AioContext } from '../../../../shared/aio/aio-context.ts'
import {
  aioWaitBhOneshot,
  BottomHalf,
  scheduleOneshot,
  scheduleRemote
} from '../../../../shared/aio/bottom-half.ts'
import { NBDError } from '../../../../shared/errors/nbd-error.ts'

const ctx = AioContext.current()

/** Polls until nothing is left to do. */
async function drain(): Promise<void> {
  while (await ctx.poll(false));
}

void t.test('A1 bh/schedule - runs in the next poll, once', async (t) => {
  let runs = 0
  const bh = new BottomHalf(() => runs++)
  bh.schedule()
  t.equal(runs, 0)
  t.equal(await ctx.poll(true), true)
  t.equal(runs, 1)
  t.equal(await ctx.poll(false), false)
  t.equal(runs, 1)
  bh.delete()
})

void t.test('A2 bh/schedule10 - one that schedules itself runs once in each poll', async (t) => {
  let runs = 0
  const bh = new BottomHalf(() => {
    if (++runs < 10) bh.schedule()
  })
  bh.schedule()
  for (let poll = 1; poll <= 10; poll++) {
    t.equal(await ctx.poll(true), true)
    t.equal(runs, poll)
  }
  t.equal(await ctx.poll(false), false)
  t.equal(runs, 10)
  bh.delete()
})

void t.test('A3 bh/cancel - does not run, and can be used again', async (t) => {
  let runs = 0
  const bh = new BottomHalf(() => runs++)
  bh.schedule()
  bh.cancel()
  t.equal(await ctx.poll(false), false)
  t.equal(runs, 0)
  bh.schedule()
  t.equal(await ctx.poll(true), true)
  t.equal(runs, 1)
  bh.delete()
})

void t.test('A4 bh/delete - a scheduled one that is deleted does not run', async (t) => {
  let runs = 0
  const bh = new BottomHalf(() => runs++)
  bh.schedule()
  bh.delete()
  t.equal(await ctx.poll(false), false)
  t.equal(runs, 0)
  t.throws(() => bh.schedule(), NBDError)
})

void t.test('A5 bh/callback-delete/one - may delete itself', async (t) => {
  let runs = 0
  const bh = new BottomHalf(() => {
    runs++
    bh.delete()
  })
  bh.schedule()
  t.equal(await ctx.poll(true), true)
  t.equal(runs, 1)
  await drain()
  t.equal(runs, 1)
})

void t.test('A6 bh/callback-delete/many - each runs up to its own limit', async (t) => {
  const limits = [1, 3, 2, 4]
  const runs = [0, 0, 0, 0]
  const halves = limits.map(
    (limit, i) =>
      new BottomHalf(() => {
        if (++runs[i]! === limit) halves[i]!.delete()
        else halves[i]!.schedule()
      })
  )
  for (const bh of halves) bh.schedule()
  await ctx.poll(true)
  t.same(runs, [1, 1, 1, 1])
  await drain()
  t.same(runs, limits)
})

void t.test('A7 bh/flush - one schedule is one run', async (t) => {
  let runs = 0
  const bh = new BottomHalf(() => runs++)
  bh.schedule()
  await drain()
  t.equal(runs, 1)
  bh.delete()
})

void t.test('A15 gsource/flush - after notify, pending turns drain to none', async (t) => {
  ctx.notify()
  t.equal(await ctx.poll(true), false)
  t.equal(await ctx.poll(false), false)
})

void t.test('bottom half - scheduling again while pending is one run', async (t) => {
  let runs = 0
  const bh = new BottomHalf(() => runs++)
  for (let i = 0; i < 1000; i++) bh.schedule()
  await drain()
  t.equal(runs, 1)
  bh.delete()
})

void t.test('bottom half - an endless one starves neither sockets nor timers', async (t) => {
  let go = true
  const bh = new BottomHalf(() => {
    if (go) bh.schedule()
  })
  bh.schedule()
  await new Promise((resolve) => setTimeout(resolve, 5))
  go = false
  await drain()
  bh.delete()
  t.pass('the timer had its turn')
})

void t.test('bottom half - an idle one is no progress, and runs within its time', async (t) => {
  let ran: (() => void) | undefined
  const done = new Promise<void>((resolve) => (ran = resolve))
  const bh = new BottomHalf(() => ran!())
  bh.scheduleIdle()
  t.equal(await ctx.poll(false), false)
  await done
  bh.delete()
})

void t.test('bottom half - a guard keeps it from being entered twice', async (t) => {
  const guard = { engaged: false }
  let runs = 0
  const bh = new BottomHalf(() => {
    t.equal(guard.engaged, true)
    runs++
  }, guard)
  guard.engaged = true
  bh.schedule()
  await drain()
  t.equal(runs, 0)
  guard.engaged = false
  bh.schedule()
  await drain()
  t.equal(runs, 1)
  t.equal(guard.engaged, false)
  bh.delete()
})

void t.test('bottom half - a oneshot frees its slot, and its result can be awaited', async (t) => {
  let runs = 0
  for (let i = 0; i < 50_000; i++) {
    scheduleOneshot(() => runs++)
    // More than a context has slots, unless they are used again.
    if (i % 1000 === 999) await drain()
  }
  t.equal(runs, 50_000)
  t.equal(await aioWaitBhOneshot(() => 42), 42)
  await t.rejects(
    aioWaitBhOneshot(() => {
      throw new Error('no')
    }),
    { message: 'no' }
  )
})

void t.test('bottom half - a handle schedules it, in its own thread too', async (t) => {
  let runs = 0
  const bh = new BottomHalf(() => runs++)
  scheduleRemote(bh.handle)
  scheduleRemote(structuredClone(bh.handle))
  t.equal(runs, 0)
  t.equal(await ctx.poll(true), true)
  await drain()
  t.equal(runs, 1)
  bh.delete()
})

void t.test('bottom half - a late schedule of a deleted one harms nobody', async (t) => {
  const gone = new BottomHalf(() => t.fail('deleted'))
  const { handle } = gone
  gone.delete()
  await drain()
  scheduleRemote(handle)
  let runs = 0
  const next = new BottomHalf(() => runs++)
  t.equal(next.handle, handle, 'it has the slot of the deleted one')
  await drain()
  t.equal(runs, 0)
  scheduleRemote(handle)
  next.schedule()
  await drain()
  t.equal(runs, 1)
  scheduleRemote(handle)
  next.delete()
  await drain()
  const [a, b] = [new BottomHalf(() => undefined), new BottomHalf(() => undefined)]
  t.not(a.handle, b.handle, 'the slot was freed once')
  a.delete()
  b.delete()
})

void t.test(
  'aioWaitBhOneshot - ends when the bottom half is deleted, also if its slot is used anew',
  async (t) => {
    const bh = new BottomHalf(() => undefined)
    await aioWaitBhOneshot(bh.handle)
    const waiting = aioWaitBhOneshot(bh.handle)
    bh.delete()
    await drain()
    const next = new BottomHalf(() => undefined)
    t.equal(next.handle, bh.handle)
    await waiting
    next.delete()
  }
)

void t.test('bottom half - one that throws is an uncaught exception, and the loop goes on', async (t) => {
  const module = new URL('../../../../shared/aio/bottom-half.js', import.meta.url).href
  const code = `
    import { BottomHalf } from '${module}'
    process.on('uncaughtException', ({ message }) => console.log('uncaught ' + message))
    const first = new BottomHalf(() => { throw new Error('out of luck') })
    const second = new BottomHalf(() => { console.log('second'); third.schedule() })
    const third = new BottomHalf(() => console.log('third'))
    first.schedule()
    second.schedule()`
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', code], {
    timeout: 30_000
  })
  t.same(stdout.trim().split('\n'), ['second', 'uncaught out of luck', 'third'])
  await t.rejects(
    promisify(execFile)(
      process.execPath,
      ['--input-type=module', '-e', code.replace(/^.*uncaughtException.*$/m, '')],
      { timeout: 30_000 }
    ),
    { code: 1, stderr: /out of luck/ }
  )
})
