import t from 'tap'
import { Histogram } from '../../../../client/bench/histogram.ts'

/** Numbers of every magnitude, the same in each run. */
function values(count: number): number[] {
  let state = 12345
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0
    return Math.floor(10 ** ((state / 2 ** 32) * 12))
  })
}

function filled(all: number[], digits?: number): Histogram {
  const histogram = new Histogram(digits)
  for (const value of all) histogram.record(value)
  return histogram
}

void t.test('histogram - minimum, maximum, mean and number are exact', async (t) => {
  const all = values(5000)
  const histogram = filled(all)
  t.equal(histogram.count, 5000)
  t.equal(histogram.min, Math.min(...all))
  t.equal(histogram.max, Math.max(...all))
  t.equal(histogram.mean, all.reduce((sum, value) => sum + value) / 5000)
})

void t.test('histogram - a percentile agrees with the sorted values in its first four digits', async (t) => {
  const all = values(20_000)
  const histogram = filled(all)
  const sorted = all.toSorted((a, b) => a - b)
  for (const percent of [0, 1, 25, 50, 90, 99, 99.9, 99.99, 100]) {
    const truth = sorted[Math.max(0, Math.ceil((percent / 100) * all.length) - 1)]!
    const told = histogram.percentile(percent)
    t.ok(told >= truth && told < truth + Math.max(1, truth / 1000), `${percent}%: ${told} for ${truth}`)
    t.equal(
      Math.floor(told / 10 ** Math.max(0, String(told).length - 4)),
      Math.floor(truth / 10 ** Math.max(0, String(truth).length - 4))
    )
  }
})

void t.test('histogram - a percentile is what so many values do not exceed', async (t) => {
  const histogram = filled([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
  t.same(
    [0, 10, 11, 50, 90, 91, 100].map((percent) => histogram.percentile(percent)),
    [1, 1, 2, 5, 9, 10, 10]
  )
})

void t.test('histogram - buckets begin at round numbers and count every value once', async (t) => {
  const all = [0, 9, 10, 99, 100, 109, 110, 990, 999, 1000, 123_456_789, 1e14]
  const histogram = filled(all, 2)
  t.same(
    [...histogram.buckets()],
    [
      { from: 0, to: 1, count: 1 },
      { from: 9, to: 10, count: 1 },
      { from: 10, to: 11, count: 1 },
      { from: 99, to: 100, count: 1 },
      { from: 100, to: 110, count: 2 },
      { from: 110, to: 120, count: 1 },
      { from: 990, to: 1000, count: 2 },
      { from: 1000, to: 1100, count: 1 },
      { from: 120_000_000, to: 130_000_000, count: 1 },
      { from: 1e14, to: 1.1e14, count: 1 }
    ]
  )
})

void t.test('histogram - a bucket contains what it counts, at every boundary', async (t) => {
  for (const digits of [1, 2, 3, 4]) {
    for (let power = 0; power < 15; power++) {
      for (const value of [10 ** power - 1, 10 ** power, 10 ** power + 1, 5 * 10 ** power].filter(
        (v) => v < 1e15
      )) {
        const [bucket] = [...filled([value], digits).buckets()]
        if (bucket!.from <= value && value < bucket!.to) continue
        t.fail(`${value} with ${digits} digits is in ${JSON.stringify(bucket)}`)
      }
    }
  }
  t.pass('all are')
})

void t.test('histogram - fractions are dropped, and what is too large is counted at the end', async (t) => {
  const histogram = filled([1.9, 1e15, 1e300, Infinity])
  t.same(
    { min: histogram.min, max: histogram.max, count: histogram.count },
    { min: 1, max: 1e15 - 1, count: 4 }
  )
})

void t.test('histogram - without values all is zero', async (t) => {
  const histogram = new Histogram()
  t.same([histogram.min, histogram.max, histogram.mean, histogram.percentile(50)], [0, 0, 0, 0])
  t.same([...histogram.buckets()], [])
})

void t.test('histogram - the sum of two is that of their values', async (t) => {
  const all = values(1000)
  const sum = filled(all.slice(0, 300))
  sum.add(filled(all.slice(300)))
  const whole = filled(all)
  t.same([...sum.buckets()], [...whole.buckets()])
  t.same([sum.count, sum.min, sum.max, sum.mean], [whole.count, whole.min, whole.max, whole.mean])
  t.throws(() => sum.add(new Histogram(2)), /precision/)
})
