/** What `npm run bench -- servers` is told. */
import { parseArgs } from 'node:util'
import { CELLS, QUICK_CELLS, type Cell } from './cells.ts'
import { CONTENDERS, type Contender } from './contenders.ts'

const MiB = 1024 * 1024

export interface Options {
  cells: Cell[]
  contenders: Contender[]
  /** That are counted. */
  rounds: number
  /** Seconds of one more, before, that is not; 0: there is none. */
  warmUp: number
  /** Of each cell, server and round. */
  seconds: number
  /** Of the image, in bytes. */
  size: number
  peers: 'installed' | 'debian-13' | undefined
  json: string | undefined
  svg: string | undefined
  markdown: string | undefined
}

export const USAGE = `npm run bench -- servers [options]
  --cells REGEXP     of those that --list shows
  --transport NAME   unix, tcp, tls or direct: the same as --cells '^NAME/'
  --servers LIST     of: ${CONTENDERS.map(({ name }) => name).join(', ')}
  --rounds N         that are counted (5)
  --seconds S        of each cell, server and round (2)
  --warm-up S        of each cell and server, before they count (4)
  --size MIB         of the image (1024)
  --peers NAME       installed or debian-13 (the newest that is there)
  --json FILE        everything that was measured
  --svg FILE         ratios as a picture
  --markdown FILE    results for BENCHMARKS.md
  --quick            some cells for a moment, to see that it works
  --list             show the cells and end`

/** @throws Error that says what is wrong with the arguments */
export function parseOptions(args: string[]): Options | 'list' {
  const text = { type: 'string' } as const
  const numbers = { rounds: text, seconds: text, 'warm-up': text, size: text }
  const flag = { type: 'boolean', default: false } as const
  const { values } = parseArgs({
    args,
    options: {
      ...{ cells: text, transport: text, servers: text, ...numbers },
      ...{ peers: text, json: text, svg: text, markdown: text, quick: flag, list: flag }
    }
  })
  if (values.list) return 'list'
  const { quick, peers } = values
  const given = { quick, pattern: values.cells, way: values.transport }
  if (peers !== undefined && peers !== 'installed' && peers !== 'debian-13')
    throw new Error(`--peers: '${peers}' is not installed or debian-13`)
  return {
    cells: chosenCells(given),
    contenders: chosenServers(values.servers),
    rounds: Math.ceil(positive(values.rounds, '--rounds', quick ? 1 : 5)),
    warmUp: quick ? 0 : positive(values['warm-up'], '--warm-up', 4),
    seconds: positive(values.seconds, '--seconds', quick ? 0.1 : 2),
    size: positive(values.size, '--size', quick ? 16 : 1024) * MiB,
    peers,
    ...{ json: values.json, svg: values.svg, markdown: values.markdown }
  }
}

interface Chosen {
  quick: boolean
  pattern: string | undefined
  way: string | undefined
}

function chosenCells({ quick, pattern, way }: Chosen): Cell[] {
  const all = pattern === undefined ? (quick ? QUICK_CELLS : /./) : new RegExp(pattern)
  const cells = CELLS.filter((cell) => all.test(cell.name) && (way === undefined || cell.way.name === way))
  if (cells.length === 0) throw new Error('no such cell: see --list')
  return cells
}

function chosenServers(list: string | undefined): Contender[] {
  if (list === undefined) return CONTENDERS
  return list.split(',').map((name) => {
    const found = CONTENDERS.find((contender) => contender.name === name)
    if (found === undefined) throw new Error(`--servers: no such server: ${name}`)
    return found
  })
}

function positive(text: string | undefined, name: string, standard: number): number {
  if (text === undefined) return standard
  const value = Number(text)
  if (!(value > 0 && Number.isFinite(value))) throw new Error(`${name}: '${text}' is not a number above 0`)
  return value
}
