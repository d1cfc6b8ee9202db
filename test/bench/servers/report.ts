/** Results as text: a table for each cell while it runs, and what they come to, also as Markdown. */
import { sorted } from '../statistics.ts'
import type { CellResult, Ratios, Report, ServerResult } from './results.ts'

const MiB = 1024 * 1024

const ratio = (value: number | null): string => (value === null ? '-' : `x${value.toFixed(2)}`)

/** Requests in a second, or MiB. */
const rateText = (unit: CellResult['unit'], rate: number): string =>
  (unit === 'requests' ? rate : rate * 1024).toFixed(0)

/** Microseconds for a request (seconds for a million of them), or seconds for a GiB. */
const cpuText = (unit: CellResult['unit'], cpu: number): string =>
  unit === 'requests' ? (cpu * 1e6).toFixed(2) : cpu.toFixed(3)

function table(rows: string[][]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  const line = (row: string[]): string =>
    row.map((text, i) => (i === 0 ? text.padEnd(widths[i]!) : text.padStart(widths[i]!))).join('  ')
  return rows.map((row) => `  ${line(row).trimEnd()}`).join('\n')
}

export function cellText({ name, unit, servers, best }: CellResult): string {
  const [rateHead, cpuHead] =
    unit === 'requests' ? ['requests/s', 'us of CPU each'] : ['MiB/s', 's of CPU for 1 GiB']
  const head = ['', rateHead, 'smallest - largest', cpuHead, 'MiB of memory', 'load', 'to the best']
  const row = ({ name, rate, rates, cpu, memory, load, toBest }: ServerResult): string[] => {
    const ordered = sorted(rates)
    return [
      name,
      rateText(unit, rate),
      `${rateText(unit, ordered[0]!)} - ${rateText(unit, ordered.at(-1)!)}`,
      cpuText(unit, cpu),
      (memory / MiB).toFixed(0),
      load === null ? '-' : load.toFixed(2),
      name === best ? 'best' : ratio(toBest)
    ]
  }
  return `${name}\n${table([head, ...servers.map(row)])}`
}

const SUMMARY_HEAD = [
  ...['', 'server', 'best other', 'to the best', 'to the limit'],
  ...['CPU to the least', 'CPU to the limit']
]
const ratios = ({ toBest, toLimit, cpuToLeast, cpuToLimit }: Ratios): string[] =>
  [toBest, toLimit, cpuToLeast, cpuToLimit].map(ratio)

/** Of all cells, ours and the limit beside the best of the others; and the means of all. */
const summaryRows = ({ cells, means }: Report): string[][] => [
  ...cells.flatMap(({ name, best, servers }) =>
    servers
      .filter(({ kind }) => kind !== 'other')
      .map((server) => [name, server.name, best ?? '-', ...ratios(server)])
  ),
  ...means.map((mean) => [`${mean.way}: mean of ${mean.cells}`, mean.name, '', ...ratios(mean)])
]

export const summaryText = (report: Report): string => table([SUMMARY_HEAD, ...summaryRows(report)])

/** Machine, versions and how it was measured. */
export function conditions({ machine, versions, tools, rounds, seconds, warmUp, imageMiB }: Report): string {
  const { cpu, processors, memoryGiB, kernel, node } = machine
  const list = (of: Record<string, string>): string =>
    Object.entries(of)
      .map(([name, version]) => `${name} ${version}`)
      .join(', ')
  return [
    `${processors} x ${cpu}, ${memoryGiB} GiB, kernel ${kernel}, Node ${node}`,
    `servers: ${list(versions)}`,
    `load: ${list(tools)}; ${rounds} rounds of ${seconds} s after ${warmUp} s, image of ${imageMiB} MiB`
  ].join('\n')
}

/** For BENCHMARKS.md. */
export function markdown(report: Report): string {
  const row = (texts: string[]): string => `| ${texts.join(' | ')} |`
  const rule = row(SUMMARY_HEAD.map((_, i) => (i < 3 ? '---' : '---:')))
  return [
    ...['```text', conditions(report), '```', ''],
    ...[row(['cell', ...SUMMARY_HEAD.slice(1)]), rule, ...summaryRows(report).map(row), ''],
    ...['```text', report.cells.map(cellText).join('\n\n'), '```', '']
  ].join('\n')
}
