import t from 'tap'
import { giveMemory, IDLE_KEPT, keptMemory, takeMemory } from '../../../../shared/io/memory-pool.ts'
import { Memory } from '../../../../shared/syscall/memory.ts'
import { waitFor } from '../../../helpers/wait-for.ts'

void t.test('takeMemory - gives the next power of two, and no less than a page', async (t) => {
  for (const [size, given] of [
    [0, 4096],
    [1, 4096],
    [4096, 4096],
    [4097, 8192],
    [32 * 1024 * 1024, 32 * 1024 * 1024]
  ] as const) {
    const memory = takeMemory(size)
    t.equal(memory.length, given, `${size} bytes`)
    giveMemory(memory)
  }
})

void t.test('giveMemory - what was given back is what is taken next', async (t) => {
  const memory = takeMemory(10_000)
  giveMemory(memory)
  const again = takeMemory(9000)
  const other = takeMemory(9000)
  t.equal(again, memory)
  t.not(other, memory)
  giveMemory(again)
  giveMemory(other)
})

const MiB = 1024 * 1024
/** Each piece is one MiB. @returns those that were taken */
const take = (count: number): Memory[] => Array.from({ length: count }, () => takeMemory(MiB))

void t.test('giveMemory - what was in use a moment ago is kept, and soon no more than 16 MiB', async (t) => {
  const before = take(100)
  for (const memory of before) giveMemory(memory)
  const again = take(100)
  // Small pieces of the tests before are there, too.
  t.ok(again.filter((memory) => before.includes(memory)).length >= 99)
  for (const memory of again) giveMemory(memory)
  t.ok(keptMemory() >= 99 * MiB && keptMemory() <= 100 * MiB, `${keptMemory()} bytes`)
  // The thread's timers do not keep it.
  const awake = setInterval(() => undefined, 10)
  await waitFor('the idle thread to let go', () => keptMemory() <= IDLE_KEPT)
  clearInterval(awake)
  t.ok(keptMemory() > IDLE_KEPT / 2, `${keptMemory()} bytes`)
})

void t.test('giveMemory - what is let go is not resident any more', async (t) => {
  const rss = (): number => process.memoryUsage.rss()
  const before = rss()
  const pieces = [...take(200), ...Array.from({ length: 400 }, () => takeMemory(4096)), takeMemory(64 * MiB)]
  for (const { buffer } of pieces) buffer.fill(1)
  t.ok(rss() - before > 200 * MiB)
  for (const memory of pieces) giveMemory(memory)
  const awake = setInterval(() => undefined, 10)
  await waitFor('the memory to be let go', () => rss() - before < 40 * MiB)
  clearInterval(awake)
  t.pass()
})

void t.test('release - leaves what is no whole page: its neighbours are others', async (t) => {
  // Pages may be that large.
  const memory = Memory.allocate(128 * 1024, 64 * 1024)
  memory.buffer.fill(7)
  const all = Buffer.from(memory.buffer)
  memory.slice(0, 100).release()
  memory.slice(100, 32 * 1024).release()
  t.ok(memory.buffer.equals(all))
  memory.release()
  t.ok(memory.buffer.equals(Buffer.alloc(memory.length)), 'and gives back what is')
})

void t.test('giveMemory - of other sizes no more is kept than was in use', async (t) => {
  const ofOneSize = take(40)
  for (const memory of ofOneSize) giveMemory(memory)
  const ofAnother = Array.from({ length: 400 }, () => takeMemory(64 * 1024))
  for (const memory of ofAnother) giveMemory(memory)
  t.ok(keptMemory() <= 40 * MiB, `${keptMemory()} bytes`)
})
