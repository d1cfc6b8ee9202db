/** Results as a picture: a row for each cell, a mark for each server, at its ratio to the best of the others. */
import { MARGIN, svgDocument, type SeriesColours } from '../../../client/svg/document.ts'
import { element, textElement } from '../../../client/svg/element.ts'
import { linearTicks } from '../../../client/svg/ticks.ts'
import type { CellResult, Report, ServerResult } from './results.ts'

const WIDTH = 860
const LABELS = 150
const HEAD = 84
const ROW = 22
const GAP = 10
const FOOT = 30
const TICKS = 10
const RADIUS = 5
/** Of 12 pixel text, about. */
const CHARACTER = 8

/** Apart from each other also for those who do not see all colours. */
const PALETTE = [
  { light: '#1f6fd1', dark: '#5aa2f5' },
  { light: '#6b3fc0', dark: '#a98af0' },
  { light: '#d2570f', dark: '#f08a4b' },
  { light: '#e0a100', dark: '#f0c24b' },
  { light: '#0b8a66', dark: '#35c79b' },
  { light: '#c0485f', dark: '#e07c8f' },
  { light: '#1c1f24', dark: '#e8eaed' }
]

/** @returns an SVG document */
export function chart({ cells, versions }: Report): string {
  const names = [...new Set(cells.flatMap(({ servers }) => servers.map(({ name }) => name)))]
  const classOf = (name: string): string => `s${names.indexOf(name)}`
  const colours: SeriesColours = Object.fromEntries(
    names.map((name, i) => [classOf(name), PALETTE[i % PALETTE.length]!])
  )
  const rows = placeRows(cells)
  const bottom = (rows.at(-1)?.y ?? MARGIN + HEAD) + ROW / 2
  const left = MARGIN + LABELS
  const ratios = cells.flatMap(({ servers }) => servers.flatMap(({ toBest }) => toBest ?? []))
  const ticks = linearTicks(Math.max(1, ...ratios), TICKS)
  const toX = (ratio: number): number => left + (ratio / ticks.at(-1)!) * (WIDTH - MARGIN - left)
  const title = 'Throughput beside the fastest other server'
  const others = Object.entries(versions).map(([name, version]) => `${name} ${version}`)
  return svgDocument(
    { width: WIDTH, height: bottom + FOOT + MARGIN, title, colours },
    textElement(MARGIN, MARGIN + 14, 'title', title),
    textElement(MARGIN, MARGIN + 36, 'quiet', `1 is the fastest of ${others.join(', ')} in each row`),
    legend(names, classOf),
    ...ticks.flatMap((tick) => [
      element('line', {
        class: 'grid',
        x1: toX(tick),
        x2: toX(tick),
        y1: MARGIN + HEAD - ROW / 2,
        y2: bottom
      }),
      textElement(toX(tick), bottom + 18, 'quiet middle', String(tick))
    ]),
    ...rows.flatMap(({ cell, y }) => [
      textElement(left - 10, y + 4, 'quiet right', cell.name),
      element('line', { class: 'grid', x1: left, x2: WIDTH - MARGIN, y1: y, y2: y }),
      ...marks(cell, y, toX, classOf)
    ])
  )
}

interface Row {
  cell: CellResult
  /** Of its middle. */
  y: number
}

/** Those of one way stand together. */
function placeRows(cells: CellResult[]): Row[] {
  let y = MARGIN + HEAD
  let before: string | undefined
  return cells.map((cell) => {
    const way = cell.name.split('/')[0]!
    if (before !== undefined) y += way === before ? ROW : ROW + GAP
    before = way
    return { cell, y }
  })
}

/** Ours last, so that nothing hides them. */
function marks(
  { servers }: CellResult,
  y: number,
  toX: (ratio: number) => number,
  classOf: (name: string) => string
): string[] {
  const order = (server: ServerResult): number => (server.kind === 'ours' ? 1 : 0)
  return servers
    .toSorted((a, b) => order(a) - order(b))
    .flatMap(({ name, toBest }) =>
      toBest === null
        ? []
        : element('circle', { class: `area ${classOf(name)}`, cx: toX(toBest), cy: y, r: RADIUS })
    )
}

function legend(names: string[], classOf: (name: string) => string): string {
  let x = MARGIN
  const y = MARGIN + 58
  return names
    .flatMap((name) => {
      const at = x
      x += name.length * CHARACTER + 4 * RADIUS
      return [
        element('circle', { class: `area ${classOf(name)}`, cx: at + RADIUS, cy: y - 4, r: RADIUS }),
        textElement(at + 3 * RADIUS, y, 'quiet', name)
      ]
    })
    .join('\n')
}
