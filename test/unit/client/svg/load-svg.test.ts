import t from 'tap'
import { Histogram } from '../../../../client/bench/histogram.ts'
import type { RunResult } from '../../../../client/bench/run-load.ts'
import { TimeSeries } from '../../../../client/bench/time-series.ts'
import { loadSvg } from '../../../../client/svg/load-svg.ts'
import { elementsOf, parseXml } from '../../../helpers/xml.ts'

const description = {
  uri: 'nbd://localhost/a%26b?<&>',
  connections: 2,
  depth: 4,
  flushEvery: 0,
  shape: { kind: 'randrw' as const, mix: 70, blockSize: 4096, offset: 0, length: 2 ** 20, seed: 1 }
}

/** A request of each kind in every millisecond. */
function result(milliseconds: number): RunResult {
  const of = (): RunResult['reads'] => ({ bytes: 0, latencies: new Histogram() })
  const [reads, writes] = [of(), of()]
  const series = new TimeSeries()
  for (let ms = 0; ms < milliseconds; ms++) {
    for (const [kind, counted, latency] of [
      ['read', reads, 1e5],
      ['write', writes, 1e6]
    ] as const) {
      counted.bytes += 4096
      counted.latencies.record(latency)
      series.record(ms, kind, 4096, latency)
    }
  }
  const seconds = milliseconds / 1000
  const cpuSeconds = { user: 0, system: 0 }
  return { reads, writes, flushes: of(), seconds, cpuSeconds, series, interrupted: false }
}

const lines = (svg: string): (string | undefined)[] =>
  elementsOf(parseXml(svg), 'polyline').map(({ attributes }) => attributes['class'])

void t.test('picture of a run - a document with a line for each series', async (t) => {
  const svg = loadSvg(description, result(2000))
  t.same(lines(svg), ['line reads', 'line writes', 'line max', 'line p99', 'line median'])
  const texts = elementsOf(parseXml(svg), 'text').map(({ text }) => text)
  t.equal(texts[0], 'randrw, 70% reads, 4 KiB, depth 4, 2 connections')
  t.equal(texts[1], `${description.uri}: 2k IOPS, 7.81 MiB/s, median 100 us, p99 1 ms`)
  t.ok(texts.includes('4 MiB/s') || texts.includes('5 MiB/s'), texts.join())
  t.match(svg, /prefers-color-scheme: dark/)
})

void t.test(
  'picture of a run - throughput is that of the interval, also of one that was cut off',
  async (t) => {
    const [reads] = elementsOf(parseXml(loadSvg(description, result(1030))), 'polyline')
    const heights = reads!.attributes['points']!.split(' ').map((point) => point.split(',')[1])
    t.equal(heights.length, 21, 'the last one, of 30 ms, included')
    t.same(new Set(heights.slice(0, 20)).size, 1, 'a level line')
    t.ok(Math.abs(Number(heights[20]) - Number(heights[0])) < 1)
  }
)

void t.test('picture of a run - one interval is a dot, and no interval is no line', async (t) => {
  const short = loadSvg(description, result(20))
  t.same(lines(short), [])
  t.equal(elementsOf(parseXml(short), 'circle').length, 5)
  const nothing = loadSvg(description, result(0))
  t.same(lines(nothing), [])
  t.match(nothing, /nothing was measured/)
})

void t.test('picture of a run - no number is missing in it', async (t) => {
  for (const milliseconds of [0, 1, 49, 51, 3000]) {
    t.notMatch(loadSvg(description, result(milliseconds)), /NaN|Infinity|undefined/)
  }
})
