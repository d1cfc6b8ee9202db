/** What `mqnbd bench` measured, over time: throughput above, latency below. */
import { formatBytes, formatCount, formatDuration } from '../bench/format.ts'
import { Histogram } from '../bench/histogram.ts'
import { describeLoad, type RunDescription } from '../bench/report.ts'
import type { RunResult } from '../bench/run-load.ts'
import type { Interval } from '../bench/time-series.ts'
import { MARGIN, svgDocument, type SeriesColours } from './document.ts'
import { textElement } from './element.ts'
import { lineChart, type LineChart, type Series } from './line-chart.ts'

const WIDTH = 860
const HEAD = 60
const CHART_HEIGHT = 240
const GAP = 24
const HEIGHT = MARGIN + HEAD + 2 * CHART_HEIGHT + GAP + MARGIN
const BYTE_UNITS = ['B/s', 'KiB/s', 'MiB/s', 'GiB/s', 'TiB/s']

/** Apart from each other also for those who do not see all colours. */
const COLOURS: SeriesColours = {
  reads: { light: '#1f6fd1', dark: '#5aa2f5' },
  writes: { light: '#d2570f', dark: '#f08a4b' },
  median: { light: '#0b8a66', dark: '#35c79b' },
  p99: { light: '#6b3fc0', dark: '#a98af0' },
  max: { light: '#9aa3af', dark: '#6b7280' }
}

/** @returns an SVG document */
export function loadSvg(description: RunDescription, result: RunResult): string {
  const width = WIDTH - 2 * MARGIN
  const top = MARGIN + HEAD
  const title = describeLoad(description)
  const slices = slicesOf(result)
  const box = { x: MARGIN, y: top, width, height: CHART_HEIGHT }
  return svgDocument(
    { width: WIDTH, height: HEIGHT, title: `mqnbd bench: ${title}`, colours: COLOURS },
    textElement(MARGIN, MARGIN + 14, 'title', title),
    textElement(MARGIN, MARGIN + 36, 'quiet', `${description.uri}: ${summary(result)}`),
    lineChart(box, throughput(slices, result)),
    lineChart({ ...box, y: top + CHART_HEIGHT + GAP }, latency(slices, result))
  )
}

function summary({ reads, writes, seconds }: RunResult): string {
  const all = new Histogram()
  all.add(reads.latencies)
  all.add(writes.latencies)
  if (all.count === 0) return 'nothing was measured'
  return (
    `${formatCount(all.count / seconds)} IOPS, ${formatBytes((reads.bytes + writes.bytes) / seconds)}/s, ` +
    `median ${formatDuration(all.percentile(50))}, p99 ${formatDuration(all.percentile(99))}`
  )
}

/** An interval with its place in time, in seconds. */
interface Slice extends Interval {
  middle: number
  length: number
}

/** All but the last one, if the end of the run has cut most of it off: it would tell of chance. */
function slicesOf({ series, seconds }: RunResult): Slice[] {
  const interval = series.intervalMs / 1000
  const slices = series.intervals.map((counted, i) => {
    const start = i * interval
    const length = Math.min(interval, Math.max(seconds - start, 0))
    return { ...counted, middle: start + length / 2, length }
  })
  const last = slices.at(-1)
  return slices.length > 1 && last!.length < interval / 2 ? slices.slice(0, -1) : slices
}

const timeAxis = (seconds: number): Pick<LineChart, 'xMax' | 'xLabel'> => ({
  xMax: seconds || 1,
  xLabel: (value, ticks) => (value === ticks.at(-1) ? `${value} s` : String(value))
})

function throughput(slices: readonly Slice[], { reads, writes, seconds }: RunResult): LineChart {
  const rates = (of: 'readBytes' | 'writtenBytes'): number[] =>
    slices.map((slice) => (slice.length > 0 ? slice[of] / slice.length : 0))
  const max = Math.max(0, ...rates('readBytes'), ...rates('writtenBytes'))
  const power = max < 1 ? 0 : Math.min(Math.floor(Math.log2(max) / 10), BYTE_UNITS.length - 1)
  const line = (name: string, of: 'readBytes' | 'writtenBytes'): Series => ({
    name,
    className: name,
    points: rates(of).map((rate, i) => ({ x: slices[i]!.middle, y: rate / 1024 ** power }))
  })
  return {
    heading: 'Throughput',
    series: [
      ...(reads.latencies.count > 0 ? [line('reads', 'readBytes')] : []),
      ...(writes.latencies.count > 0 ? [line('writes', 'writtenBytes')] : [])
    ],
    ...timeAxis(seconds),
    yScale: 'linear',
    yLabel: (value) => (value === 0 ? '0' : `${value} ${BYTE_UNITS[power]}`)
  }
}

function latency(slices: readonly Slice[], { seconds }: RunResult): LineChart {
  const line = (name: string, className: string, of: (latencies: Histogram) => number): Series => ({
    name,
    className,
    points: slices.map(({ middle, latencies }) => ({
      x: middle,
      y: latencies.count === 0 ? undefined : of(latencies)
    }))
  })
  return {
    heading: 'Latency',
    series: [
      line('maximum', 'max', (latencies) => latencies.max),
      line('99%', 'p99', (latencies) => latencies.percentile(99)),
      line('median', 'median', (latencies) => latencies.percentile(50))
    ],
    ...timeAxis(seconds),
    yScale: 'log',
    yLabel: formatDuration
  }
}
