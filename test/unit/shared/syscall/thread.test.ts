import t from 'tap'
import { sleepNs } from '../../../../shared/syscall/thread.ts'

void t.test('sleepNs - blocks the thread for that time', async (t) => {
  const before = performance.now()
  for (let i = 0; i < 100; i++) sleepNs(50_000.5)
  const ms = performance.now() - before
  // What a signal ends is shorter.
  t.ok(ms >= 4.5, `${ms} ms`)
})
