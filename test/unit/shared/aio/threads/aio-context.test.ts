/** Wake-ups and the context's lock, between threads. */
import t from 'tap'
import { AioContext } from '../../../../../shared/aio/aio-context.ts'
import { BottomHalf } from '../../../../../shared/aio/bottom-half.ts'
import { inThread } from '../../../../helpers/thread.ts'
import { COUNTER } from './tasks.ts'

const tasks = new URL('./tasks.js', import.meta.url).href
const ctx = AioContext.current()

for (const pollMaxNs of [0, 1_000_000]) {
  void t.test(`bottom half - no wake-up from another thread is lost, poll-max-ns ${pollMaxNs}`, async (t) => {
    ctx.polling.options = { ...ctx.polling.options, pollMaxNs }
    const memory = new SharedArrayBuffer(64)
    const words = new Int32Array(memory)
    let runs = 0
    const bh = new BottomHalf(() => {
      runs++
      Atomics.add(words, COUNTER, 1)
      Atomics.notify(words, COUNTER)
    })
    const turns = 10_000
    await inThread(t, tasks, 'scheduleInTurn', { handle: bh.handle, memory, turns })
    t.equal(runs, turns)
    bh.delete()
  })
}

void t.test('bottom half - many producers: each runs, none more often than it was scheduled', async (t) => {
  const runs = new Array<number>(100).fill(0)
  const halves = runs.map((_, i) => new BottomHalf(() => runs[i]!++))
  const handles = halves.map((bh) => bh.handle)
  const times = 200
  await Promise.all([1, 2, 3].map(() => inThread(t, tasks, 'scheduleMany', { handles, times })))
  while (await ctx.poll(false));
  t.ok(runs.every((count) => count >= 1 && count <= 3 * times))
  for (const bh of halves) bh.delete()
})

void t.test('AioContext - a monitor takes turns with a loop that is never idle', async (t) => {
  const memory = new SharedArrayBuffer(64)
  const words = new Int32Array(memory)
  const turns = 10_000
  let rounds = 0
  let go = true
  const busy = new BottomHalf(() => {
    rounds++
    // A plain counter: the lock alone keeps both sides from losing a count.
    words[COUNTER] = words[COUNTER]! + 1
    if (go) busy.schedule()
  })
  busy.schedule()
  await inThread(t, tasks, 'monitor', { context: ctx.handle, memory, turns })
  go = false
  while (await ctx.poll(false));
  t.equal(words[COUNTER], rounds + turns)
  t.ok(rounds > turns / 2, `the loop had its turns, too: ${rounds}`)
  busy.delete()
})

void t.test('AioContext - a monitor gets a context whose loop sleeps', async (t) => {
  const memory = new SharedArrayBuffer(64)
  await inThread(t, tasks, 'monitor', { context: ctx.handle, memory, turns: 100 })
  t.equal(new Int32Array(memory)[COUNTER], 100)
})
