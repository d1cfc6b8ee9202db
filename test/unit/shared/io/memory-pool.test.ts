import t from 'tap'
import { giveMemory, takeMemory } from '../../../../shared/io/memory-pool.ts'

void t.test('takeMemory - gives the next power of two, and no less than a page', async (t) => {
  for (const [size, given] of [
    [0, 4096],
    [1, 4096],
    [4096, 4096],
    [4097, 8192],
    [32 * 1024 * 1024, 32 * 1024 * 1024]
  ] as const) {
    t.equal(takeMemory(size).length, given, `${size} bytes`)
  }
})

void t.test('giveMemory - what was given back is what is taken next', async (t) => {
  const memory = takeMemory(10_000)
  giveMemory(memory)
  t.equal(takeMemory(9000), memory)
  t.not(takeMemory(9000), memory)
})
