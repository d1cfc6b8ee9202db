/** What is measured: loads, and the ways on which they reach a server. */

const KiB = 1024
const MiB = 1024 * KiB

/** A load of fio's nbd engine. */
export interface FioLoad {
  tool: 'fio'
  /** As fio names it; `randrw` reads 70 of 100. */
  rw: 'randread' | 'randwrite' | 'randrw' | 'read' | 'write'
  bytes: number
  depth: number
  connections: number
}

/** nbdcopy of the whole image, from the server to nowhere, or to the server from a file. */
export interface CopyLoad {
  tool: 'nbdcopy'
  direction: 'from' | 'to'
}

export type Load = FioLoad | CopyLoad

/** How servers are reached, and how they reach the image. */
export interface Way {
  name: 'unix' | 'tcp' | 'tls' | 'direct'
  transport: 'unix' | 'tcp'
  tls: boolean
  /** Around the page cache. */
  direct: boolean
}

export interface Cell {
  /** `WAY/LOAD`. */
  name: string
  way: Way
  load: Load
  /** Requests, or GiB where these are long. */
  unit: 'requests' | 'GiB'
}

const random = (rw: 'randread' | 'randwrite' | 'randrw', depth: number, connections = 1): FioLoad => ({
  tool: 'fio',
  rw,
  bytes: 4 * KiB,
  depth,
  connections
})

const sequential = (rw: 'read' | 'write', bytes: number): FioLoad => ({
  tool: 'fio',
  rw,
  bytes,
  depth: 16,
  connections: 1
})

const copy = (direction: CopyLoad['direction']): CopyLoad => ({ tool: 'nbdcopy', direction })

const LENGTHS = [64 * KiB, 256 * KiB, MiB]

/** Of a page cache that holds the whole image. */
const WARM: Load[] = [
  ...[1, 16, 64].map((depth) => random('randread', depth)),
  random('randread', 16, 4),
  ...[1, 16, 64].map((depth) => random('randwrite', depth)),
  random('randwrite', 16, 4),
  random('randrw', 16),
  ...LENGTHS.map((bytes) => sequential('read', bytes)),
  ...LENGTHS.map((bytes) => sequential('write', bytes)),
  copy('from'),
  copy('to')
]

const TLS: Load[] = [
  ...[1, 16].map((depth) => random('randread', depth)),
  sequential('read', 256 * KiB),
  sequential('write', 256 * KiB),
  copy('from')
]

const DIRECT: Load[] = [
  ...[1, 16, 64].map((depth) => random('randread', depth)),
  random('randwrite', 16),
  sequential('read', 256 * KiB),
  sequential('write', 256 * KiB)
]

const WAYS: [Way, Load[]][] = [
  [{ name: 'unix', transport: 'unix', tls: false, direct: false }, WARM],
  [{ name: 'tcp', transport: 'tcp', tls: false, direct: false }, WARM],
  [{ name: 'tls', transport: 'tcp', tls: true, direct: false }, TLS],
  [{ name: 'direct', transport: 'unix', tls: false, direct: true }, DIRECT]
]

/** All of them; those of one way stand together. */
export const CELLS: Cell[] = WAYS.flatMap(([way, loads]) => loads.map((load) => cell(way, load)))

/** One of each kind. */
export const QUICK_CELLS =
  /^(unix\/(randread-4k-16|write-256k|copy-from)|tcp\/randrw-4k-16|tls\/read-256k|direct\/randread-4k-16)$/

function cell(way: Way, load: Load): Cell {
  const unit = load.tool === 'fio' && load.bytes < 64 * KiB ? 'requests' : 'GiB'
  return { name: `${way.name}/${loadName(load)}`, way, load, unit }
}

function loadName(load: Load): string {
  if (load.tool === 'nbdcopy') return `copy-${load.direction}`
  const { rw, bytes, depth, connections } = load
  const length = bytes < MiB ? `${bytes / KiB}k` : `${bytes / MiB}m`
  const several = connections === 1 ? '' : `x${connections}`
  return rw.startsWith('rand') ? `${rw}-${length}-${depth}${several}` : `${rw}-${length}`
}
