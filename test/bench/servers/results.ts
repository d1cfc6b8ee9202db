/** What was measured, and what it comes to. */
import { geometricMean, median } from '../statistics.ts'
import type { Cell } from './cells.ts'
import type { Contender } from './contenders.ts'
import type { Sample } from './drivers.ts'

/** Rates: above 1 it is faster than the reference. CPU: above 1 it uses more. null: there is no reference. */
export interface Ratios {
  /** To the fastest of the others: the median of the ratios of each round. */
  toBest: number | null
  /** To the limit, likewise. */
  toLimit: number | null
  /** Of processor time, to the least that any of the others uses. */
  cpuToLeast: number | null
  cpuToLimit: number | null
}

export interface ServerResult extends Ratios {
  name: string
  kind: Contender['kind']
  /** Units in a second, of each round. */
  rates: number[]
  /** Their median. */
  rate: number
  /** Seconds of processor time for a unit, over all rounds together. */
  cpu: number
  /** Bytes: the most of all rounds. */
  memory: number
  /** Processors that the load generator kept busy, the median; null where it does not tell. */
  load: number | null
}

export interface CellResult {
  name: string
  unit: Cell['unit']
  servers: ServerResult[]
  /** The fastest of the others. */
  best: string | null
  /** Of the others, the one that uses the least processor time. */
  least: string | null
}

/** Without what compares it. */
type Measured = Omit<ServerResult, keyof Ratios>

export function cellResult(cell: Cell, runs: { contender: Contender; samples: Sample[] }[]): CellResult {
  const all = runs.map(({ contender, samples }) => measured(contender, samples))
  const others = all.filter(({ kind }) => kind === 'other')
  const best = first(others, (a, b) => b.rate - a.rate)
  const least = first(others, (a, b) => a.cpu - b.cpu)
  const limit = all.find(({ kind }) => kind === 'limit')
  const servers = all.map((server) => ({
    ...server,
    ...{ toBest: rateRatio(server, best), toLimit: rateRatio(server, limit) },
    ...{ cpuToLeast: cpuRatio(server, least), cpuToLimit: cpuRatio(server, limit) }
  }))
  return { name: cell.name, unit: cell.unit, servers, best: best?.name ?? null, least: least?.name ?? null }
}

function measured({ name, kind }: Contender, samples: Sample[]): Measured {
  const sum = (of: 'cpu' | 'units'): number => samples.reduce((total, sample) => total + sample[of], 0)
  const rates = samples.map(({ rate }) => rate)
  const loads = samples.flatMap(({ load }) => load ?? [])
  return {
    ...{ name, kind, rates, rate: median(rates) },
    cpu: sum('cpu') / sum('units'),
    memory: Math.max(...samples.map(({ memory }) => memory)),
    load: loads.length === 0 ? null : median(loads)
  }
}

const first = <T>(values: T[], order: (a: T, b: T) => number): T | undefined => values.toSorted(order)[0]

const rateRatio = (server: Measured, reference: Measured | undefined): number | null =>
  reference ? median(server.rates.map((rate, round) => rate / reference.rates[round]!)) : null

/** In a moment too short for the counters there is none. */
const cpuRatio = (server: Measured, reference: Measured | undefined): number | null =>
  reference && server.cpu > 0 && reference.cpu > 0 ? server.cpu / reference.cpu : null

export interface Means extends Ratios {
  way: string
  name: string
  kind: Contender['kind']
  cells: number
}

/** Geometric means over the cells of each way, for each server. */
export function means(cells: CellResult[]): Means[] {
  const ways = [...new Set(cells.map(({ name }) => name.split('/')[0]!))]
  return ways.flatMap((way) => {
    const results = cells.filter(({ name }) => name.startsWith(`${way}/`)).flatMap(({ servers }) => servers)
    const servers = new Map(results.map(({ name, kind }) => [name, kind]))
    return [...servers].map(([name, kind]) => {
      const own = results.filter((result) => result.name === name)
      return { way, name, kind, cells: own.length, ...meanRatios(own) }
    })
  })
}

function meanRatios(results: Ratios[]): Ratios {
  const mean = (of: keyof Ratios): number | null => {
    const ratios = results.flatMap((result) => result[of] ?? [])
    return ratios.length === 0 ? null : geometricMean(ratios)
  }
  return {
    ...{ toBest: mean('toBest'), toLimit: mean('toLimit') },
    ...{ cpuToLeast: mean('cpuToLeast'), cpuToLimit: mean('cpuToLimit') }
  }
}

export interface Report {
  machine: { cpu: string; processors: number; memoryGiB: number; kernel: string; node: string }
  /** By server. */
  versions: Record<string, string>
  /** The load generators, likewise. */
  tools: Record<string, string>
  rounds: number
  seconds: number
  /** Seconds before the first. */
  warmUp: number
  imageMiB: number
  cells: CellResult[]
  means: Means[]
}
