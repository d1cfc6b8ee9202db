import t from 'tap'
import { MAX_INTERVALS, TimeSeries } from '../../../../client/bench/time-series.ts'

void t.test('time series - an interval counts what ended in it', async (t) => {
  const series = new TimeSeries()
  const { intervalMs } = series
  series.record(0, 'read', 512, 1000)
  series.record(intervalMs - 0.01, 'write', 4096, 3000)
  series.record(2 * intervalMs, 'read', 512, 2000)
  t.same(
    series.intervals.map(({ requests, readBytes, writtenBytes, latencies }) => [
      requests,
      readBytes,
      writtenBytes,
      latencies.max
    ]),
    [
      [2, 512, 4096, 3000],
      [0, 0, 0, 0],
      [1, 512, 0, 2000]
    ]
  )
})

void t.test('time series - a long run has longer intervals, and nothing is lost', async (t) => {
  const series = new TimeSeries()
  const first = series.intervalMs
  const end = first * MAX_INTERVALS * 5
  let count = 0
  for (let at = 0; at < end; at += first / 2) {
    series.record(at, 'read', 1, 100 + at)
    count++
  }
  t.equal(series.intervalMs, first * 8)
  t.ok(series.intervals.length <= MAX_INTERVALS)
  t.equal(
    series.intervals.reduce((sum, { requests }) => sum + requests, 0),
    count
  )
  t.equal(
    series.intervals.reduce((sum, { readBytes }) => sum + readBytes, 0),
    count
  )
  t.ok(series.intervals.every(({ requests, latencies }) => requests === 16 && latencies.count === 16))
})

void t.test('time series - after a long silence there is still a bounded number of intervals', async (t) => {
  const series = new TimeSeries()
  series.record(0, 'read', 1, 1)
  series.record(7 * 24 * 3600 * 1000, 'read', 1, 1)
  t.ok(series.intervals.length <= MAX_INTERVALS)
  t.equal(series.intervals[0]!.requests, 1)
  t.equal(series.intervals.at(-1)!.requests, 1)
})
