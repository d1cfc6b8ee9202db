/**
 * The allocation of a disk as a picture: rows from left to right and top to bottom, as text is read, each of as many bytes
 * as a power of two.
 *
 * However many extents there are, the picture has no more parts than it has pixels: those that share one are weighed, and
 * what holds data there shows, the paler the less of it there is.
 */
import { NBD_STATE_HOLE, NBD_STATE_ZERO } from '../../shared/protocol/constants.ts'
import { formatSize } from '../../shared/config/size.ts'
import { MARGIN, svgDocument, type SeriesColours } from './document.ts'
import { element, textElement } from './element.ts'

/** A part of the disk: of base:allocation, as `NBDDisk.blockStatus` tells it. */
interface Extent {
  offset: number
  length: number
  flags: number
}

/** nbdinfo's words, by the flags; in the order in which one shows before another where they share a pixel. */
const KINDS = [
  { flags: 0, name: 'data', className: 'data' },
  { flags: NBD_STATE_ZERO, name: 'zero', className: 'zero' },
  { flags: NBD_STATE_HOLE, name: 'hole', className: 'hole' },
  { flags: NBD_STATE_HOLE | NBD_STATE_ZERO, name: 'hole,zero', className: 'nothing' }
]
const NOTHING = KINDS.length - 1

const COLOURS: SeriesColours = {
  data: { light: '#1f6fd1', dark: '#5aa2f5' },
  zero: { light: '#e0a100', dark: '#f0c24b' },
  hole: { light: '#c0485f', dark: '#e07c8f' },
  nothing: { light: '#e9ecf0', dark: '#262a31' }
}

const COLUMNS = 720
const MAX_ROWS = 32
const ROW_HEIGHT = 12
const ROW_GAP = 3
const LABELS = 84
const HEAD = 72
const FOOT = 28
const WIDTH = MARGIN + LABELS + COLUMNS + MARGIN
const LEGEND_STEP = 200
/** However little of it there is, it shows this much. */
const MIN_SHARE = 0.35

/**
 * @param size of the disk, in bytes
 * @param extents of base:allocation, in order and without overlaps; what they do not cover counts as data, for so does the
 *   protocol
 * @param title what it is the allocation of
 * @returns an SVG document
 */
export function allocationSvg(size: number, extents: Iterable<Extent>, title = 'Allocation'): string {
  const rowBytes = rowSize(size)
  const rows = Math.ceil(size / rowBytes)
  const { cells, totals } = weigh(size, rowBytes, rows, extents)
  const height = MARGIN + HEAD + rows * (ROW_HEIGHT + ROW_GAP) + FOOT + MARGIN
  const left = MARGIN + LABELS
  const top = MARGIN + HEAD
  const drawn = Array.from({ length: rows }, (_, row) => {
    const y = top + row * (ROW_HEIGHT + ROW_GAP)
    const used = Math.min(COLUMNS, (COLUMNS * (size - row * rowBytes)) / rowBytes)
    const label = textElement(left - 10, y + ROW_HEIGHT - 2, 'quiet right', formatSize(row * rowBytes))
    return [label, ...rowParts(cells.subarray(row * COLUMNS * KINDS.length), left, y, used)].join('\n')
  })
  return svgDocument(
    { width: WIDTH, height, title, colours: COLOURS },
    textElement(MARGIN, MARGIN + 14, 'title', title),
    legend(size, totals),
    ...drawn,
    textElement(left, height - MARGIN, 'quiet', scaleText(size, rowBytes))
  )
}

/** Bytes of a row: a power of two of which at most MAX_ROWS make the disk. */
const rowSize = (size: number): number => 2 ** Math.max(9, Math.ceil(Math.log2(Math.max(size, 1) / MAX_ROWS)))

function scaleText(size: number, rowBytes: number): string {
  return size === 0 ? 'the disk is empty' : `${formatSize(size)}; each row is ${formatSize(rowBytes)}`
}

/** Bytes of each kind in each cell (a pixel of a row), and of each kind altogether. */
function weigh(
  size: number,
  rowBytes: number,
  rows: number,
  extents: Iterable<Extent>
): { cells: Float64Array; totals: number[] } {
  const cells = new Float64Array(rows * COLUMNS * KINDS.length)
  const totals = KINDS.map(() => 0)
  const cellBytes = rowBytes / COLUMNS
  const add = (from: number, to: number, kind: number): void => {
    totals[kind]! += to - from
    // What rounding leaves in a neighbouring cell.
    const dust = to * 2 ** -51
    for (let cell = Math.floor(from / cellBytes); cell * cellBytes < to; cell++) {
      const part = Math.min(to, (cell + 1) * cellBytes) - Math.max(from, cell * cellBytes)
      if (part > dust && cell < rows * COLUMNS) cells[cell * KINDS.length + kind]! += part
    }
  }
  let at = 0
  for (const { offset, length, flags } of extents) {
    const from = Math.min(Math.max(offset, at), size)
    const to = Math.min(offset + length, size)
    if (from > at) add(at, from, 0)
    if (to > from) add(from, to, kindOf(flags))
    at = Math.max(at, to)
  }
  if (at < size) add(at, size, 0)
  return { cells, totals }
}

const kindOf = (flags: number): number =>
  KINDS.findIndex((kind) => kind.flags === (flags & (NBD_STATE_HOLE | NBD_STATE_ZERO)))

/** Rectangles of one row: neighbours that look alike are one. */
function rowParts(cells: Float64Array, left: number, y: number, used: number): string[] {
  const parts = [rectangle(NOTHING, 1, left, used, y)]
  let start = 0
  let open = appearance(cells, 0)
  for (let column = 1; column <= Math.ceil(used); column++) {
    const next = column < used ? appearance(cells, column) : undefined
    if (next?.kind === open.kind && next.share === open.share) continue
    if (open.kind !== NOTHING) {
      parts.push(rectangle(open.kind, open.share, left + start, Math.min(column, used) - start, y))
    }
    start = column
    if (next) open = next
  }
  return parts
}

/** What a cell looks like: the first kind that is in it, and how much of it, in quarters. */
function appearance(cells: Float64Array, column: number): { kind: number; share: number } {
  const weights = cells.subarray(column * KINDS.length, (column + 1) * KINDS.length)
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  const kind = weights.findIndex((weight) => weight > 0)
  if (kind < 0) return { kind: NOTHING, share: 1 }
  return { kind, share: Math.max(MIN_SHARE, Math.round((weights[kind]! / total) * 4) / 4) }
}

const rectangle = (kind: number, share: number, x: number, width: number, y: number): string =>
  element('rect', {
    class: `area ${KINDS[kind]!.className}`,
    x,
    y,
    width,
    height: ROW_HEIGHT,
    'fill-opacity': share === 1 ? undefined : share
  })

function legend(size: number, totals: readonly number[]): string {
  const y = MARGIN + 42
  return KINDS.flatMap(({ name, className }, kind) => {
    const x = MARGIN + kind * LEGEND_STEP
    const percent = size === 0 ? 0 : (totals[kind]! / size) * 100
    return [
      element('rect', { class: `area ${className}`, x, y: y - 11, width: 13, height: 13 }),
      textElement(x + 20, y, 'quiet', `${name}: ${formatSize(totals[kind]!)} (${percent.toFixed(1)}%)`)
    ]
  }).join('\n')
}
