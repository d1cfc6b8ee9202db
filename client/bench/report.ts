/** What a run came to, as text and as JSON. */
import { formatBytes, formatCount, formatDuration } from './format.ts'
import { Histogram } from './histogram.ts'
import { drawHistogram, drawnBuckets } from './histogram-text.ts'
import type { OperationResult, RunOptions, RunResult } from './run-load.ts'

const PERCENTILES = [50, 90, 99, 99.9]

/** How the load was run, for whoever reads the report. */
export interface RunDescription extends Pick<RunOptions, 'shape' | 'depth' | 'flushEvery'> {
  /** Printable. */
  uri: string
  connections: number
}

export const isMixed = ({ shape }: Pick<RunDescription, 'shape'>): boolean =>
  shape.kind === 'rw' || shape.kind === 'randrw'

/** `randrw, 70% reads, 4 KiB, depth 16, 2 connections`. */
export function describeLoad({ shape, depth, connections, flushEvery }: RunDescription): string {
  const { kind, mix, blockSize } = shape
  return [
    isMixed({ shape }) ? `${kind}, ${mix}% reads` : kind,
    formatBytes(blockSize),
    `depth ${depth}`,
    `${connections} connection${connections === 1 ? '' : 's'}`,
    ...(flushEvery === 0 ? [] : [`a flush every ${flushEvery} writes`])
  ].join(', ')
}

/** @param width of a line, in characters */
export function reportText(description: RunDescription, result: RunResult, width: number): string {
  const { reads, writes, flushes, seconds, cpuSeconds, interrupted } = result
  const all = latenciesOf(reads, writes)
  const rows = (['reads', 'writes'] as const).filter((name) => result[name].latencies.count > 0)
  const lines = [
    `${description.uri}: ${describeLoad(description)}`,
    `${seconds.toFixed(2)} s${interrupted ? ', interrupted' : ''}; CPU of this client: ` +
      `${cpuSeconds.user.toFixed(2)} s user, ${cpuSeconds.system.toFixed(2)} s system`,
    '',
    ...rows.map((name) => `  ${name.padEnd(8)}${rateText(result[name], seconds)}`),
    ...(rows.length === 0 ? ['  nothing was measured'] : ['']),
    ...(rows.length === 0 ? [] : [latencyHead()]),
    ...rows.map((name) => latencyRow(name, result[name].latencies)),
    ...(flushes.latencies.count === 0 ? [] : [latencyRow('flushes', flushes.latencies)]),
    ...(all.count === 0 ? [] : ['', ...drawHistogram(all, width)])
  ]
  return lines.map((line) => `${line}\n`).join('')
}

/** One line for a terminal while it runs. */
export function progressText({ reads, writes, seconds }: RunResult): string {
  const all = latenciesOf(reads, writes)
  if (seconds === 0) return 'warming up'
  const bytes = reads.bytes + writes.bytes
  return (
    `${seconds.toFixed(0)} s: ${formatCount(all.count / seconds)} IOPS, ` +
    `${formatBytes(bytes / seconds)}/s, p99 ${formatDuration(all.percentile(99))}`
  )
}

function latenciesOf(...results: OperationResult[]): Histogram {
  const all = new Histogram()
  for (const { latencies } of results) all.add(latencies)
  return all
}

function rateText({ bytes, latencies }: OperationResult, seconds: number): string {
  const iops = formatCount(latencies.count / seconds).padStart(6)
  const rate = `${formatBytes(bytes / seconds)}/s`.padStart(12)
  return `${iops} IOPS ${rate}   ${latencies.count} requests, ${formatBytes(bytes)}`
}

const latencyHead = (): string =>
  [
    '  latency  ',
    ...['min', 'mean', ...PERCENTILES.map((p) => `p${p}`), 'max'].map((name) => name.padStart(9))
  ]
    .join('')
    .trimEnd()

const latencyRow = (name: string, latencies: Histogram): string =>
  [
    `  ${name.padEnd(9)}`,
    ...[
      latencies.min,
      latencies.mean,
      ...PERCENTILES.map((percent) => latencies.percentile(percent)),
      latencies.max
    ].map((ns) => formatDuration(ns).padStart(9))
  ].join('')

/** The same with names for programs; sizes in bytes, durations with their unit. */
export function reportJson(description: RunDescription, result: RunResult): string {
  const { uri, shape, depth, connections, flushEvery } = description
  const { seconds, series } = result
  const report = {
    uri,
    rw: shape.kind,
    ...(isMixed(description) ? { mix: shape.mix } : {}),
    block_size: shape.blockSize,
    depth,
    connections,
    offset: shape.offset,
    size: shape.length,
    seed: shape.seed,
    flush_every: flushEvery,
    seconds,
    interrupted: result.interrupted,
    cpu_seconds: result.cpuSeconds,
    reads: operationJson(result.reads, seconds),
    writes: operationJson(result.writes, seconds),
    flushes: operationJson(result.flushes, seconds),
    series: {
      interval_ms: series.intervalMs,
      intervals: series.intervals.map(({ requests, readBytes, writtenBytes, latencies }) => ({
        requests,
        read_bytes: readBytes,
        written_bytes: writtenBytes,
        p50_ns: latencies.percentile(50),
        p99_ns: latencies.percentile(99),
        max_ns: latencies.max
      }))
    }
  }
  return JSON.stringify(report, undefined, 2) + '\n'
}

function operationJson({ bytes, latencies }: OperationResult, seconds: number): object {
  const perSecond = (count: number): number => (seconds === 0 ? 0 : count / seconds)
  return {
    requests: latencies.count,
    bytes,
    iops: perSecond(latencies.count),
    bytes_per_second: perSecond(bytes),
    latency_ns: {
      min: latencies.min,
      mean: latencies.mean,
      ...Object.fromEntries(PERCENTILES.map((percent) => [`p${percent}`, latencies.percentile(percent)])),
      max: latencies.max
    },
    histogram: drawnBuckets(latencies).map(({ from, to, count }) => ({ from_ns: from, to_ns: to, count }))
  }
}
