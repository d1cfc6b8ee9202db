import t from 'tap'
import { formatBytes, formatCount, formatDuration } from '../../../../client/bench/format.ts'
import { Histogram } from '../../../../client/bench/histogram.ts'
import { drawHistogram, drawnBuckets } from '../../../../client/bench/histogram-text.ts'

function filled(all: number[]): Histogram {
  const histogram = new Histogram()
  for (const value of all) histogram.record(value)
  return histogram
}

void t.test('drawn buckets - 1, 2, 5 of each power of ten, also empty ones in between', async (t) => {
  t.same(drawnBuckets(filled([1000, 1999, 2000, 49_999, 50_000])), [
    { from: 1000, to: 2000, count: 2 },
    { from: 2000, to: 5000, count: 1 },
    { from: 5000, to: 10_000, count: 0 },
    { from: 10_000, to: 20_000, count: 0 },
    { from: 20_000, to: 50_000, count: 1 },
    { from: 50_000, to: 100_000, count: 1 }
  ])
})

void t.test('drawn buckets - zero has a place, and without values there are none', async (t) => {
  t.same(drawnBuckets(filled([0, 1])), [
    { from: 0, to: 1, count: 1 },
    { from: 1, to: 2, count: 1 }
  ])
  t.same(drawnBuckets(new Histogram()), [])
  t.same(drawHistogram(new Histogram(), 80), [])
})

void t.test('histogram as text - ends, share, and a bar in eighths of a character', async (t) => {
  const all = [
    ...Array.from({ length: 800 }, () => 10_000),
    ...Array.from({ length: 250 }, () => 20_000),
    50_000
  ]
  t.same(drawHistogram(filled(all), 42), [
    '     10 us ..   20 us   76.12%  ██████████',
    '     20 us ..   50 us   23.79%  ███▏',
    '     50 us ..  100 us    0.10%  ▏'
  ])
})

void t.test('numbers for people - three digits, and a unit', async (t) => {
  t.same([0, 999, 1000, 12_345, 999_499, 999_999, 1e6, 1.5e9, 123e9].map(formatDuration), [
    '0 ns',
    '999 ns',
    '1 us',
    '12.3 us',
    '999 us',
    '1.00 ms',
    '1 ms',
    '1.50 s',
    '123 s'
  ])
  t.same([0, 999.4, 999.9, 12_345, 2.5e6].map(formatCount), ['0', '999', '1.00k', '12.3k', '2.50M'])
  t.same([512, 1536, 1024 * 1023.9, 2 ** 30].map(formatBytes), ['512 B', '1.50 KiB', '1.00 MiB', '1 GiB'])
})
