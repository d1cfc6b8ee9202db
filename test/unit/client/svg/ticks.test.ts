import t from 'tap'
import { linearTicks, logTicks } from '../../../../client/svg/ticks.ts'

void t.test(
  'linear ticks - from 0, 1, 2 or 5 times a power of ten apart, up to the maximum or beyond',
  async (t) => {
    t.same(linearTicks(10, 5), [0, 2, 4, 6, 8, 10])
    t.same(linearTicks(10.1, 5), [0, 5, 10, 15])
    t.same(linearTicks(1, 5), [0, 0.2, 0.4, 0.6, 0.8, 1])
    t.same(linearTicks(0.3, 3), [0, 0.1, 0.2, 0.3])
    t.same(linearTicks(777, 4), [0, 200, 400, 600, 800])
  }
)

void t.test('linear ticks - for whatever maximum: no more than asked for, and it is reached', async (t) => {
  for (let max = 1e-9; max < 1e16; max *= 1.37) {
    const ticks = linearTicks(max, 6)
    const step = ticks[1]!
    const good = ticks.length <= 7 && ticks.at(-1)! >= max * (1 - 1e-9) && ticks.at(-2)! < max
    if (!good || !/^[125]0*$/.test(step.toExponential().replace(/e.*/, ''))) t.fail(`${max}: ${ticks.join()}`)
  }
  t.pass('all are')
})

void t.test('logarithmic ticks - 1, 2, 5 in a narrow range, powers of ten in a wide one', async (t) => {
  t.same(logTicks(30_000, 400_000), [20_000, 50_000, 100_000, 200_000, 500_000])
  t.same(logTicks(12, 99_999), [10, 100, 1000, 10_000, 100_000])
  t.same(logTicks(5, 5), [5, 10])
  t.same(logTicks(0.7, 3), [0.5, 1, 2, 5])
})

void t.test('logarithmic ticks - whatever the ends, these are between the first and the last', async (t) => {
  for (let min = 1; min < 1e12; min *= 7.3) {
    for (let max = min; max < 1e15; max *= 5.1) {
      const ticks = logTicks(min, max)
      if (ticks.length >= 2 && ticks[0]! <= min && ticks[1]! > min && ticks.at(-1)! >= max) continue
      t.fail(`${min} to ${max}: ${ticks.join()}`)
    }
  }
  t.pass('all are')
})
