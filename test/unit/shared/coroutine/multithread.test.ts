/** test-aio-multithread.c, with five IOThreads. Runs of ten seconds are in test/stress. */
import t from 'tap'
import type { EntryPoint } from '../../../../shared/aio/entry-point.ts'
import { countTogether, passWakeUps } from '../../../helpers/co-multithread.ts'
import { startThreads } from '../../../helpers/iothreads.ts'
import { STOP, type CountTask } from './tasks.ts'

const THREADS = 5

const COUNT: EntryPoint<CountTask, number> = {
  module: new URL('./tasks.js', import.meta.url).href,
  name: 'countUnderMutex'
}

void t.test('T1 lifecycle - a function runs in each thread, and all end', async (t) => {
  const threads = await startThreads(t, THREADS)
  const memory = new SharedArrayBuffer(256)
  new Int32Array(memory)[STOP] = 1
  const turns = await Promise.all(threads.map((thread, id) => thread.run(COUNT, { memory, id })))
  t.same(turns, [0, 0, 0, 0, 0])
})

void t.test('T2 schedule - wake-ups passed at random: none is lost, none doubled', (t) =>
  passWakeUps(t, THREADS)
)

for (const [name, countTask, count] of [
  ['T3 mutex/contended', 'countUnderMutex', THREADS],
  ['T4 mutex/handoff', 'countUnderMutex', 2],
  ['T5 mutex/mcs', 'countUnderMcsLock', THREADS],
  ['T6 mutex/pthread', 'countUnderQemuMutex', THREADS]
] as const) {
  void t.test(`${name} - the plain counter equals the atomic one`, (t) => countTogether(t, countTask, count))
}
