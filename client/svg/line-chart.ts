/** Lines over time, with axes, marks and a legend. */
import { element, round, textElement } from './element.ts'
import { linearTicks, logTicks } from './ticks.ts'

/** Where it stands in the picture, in pixels; axes, heading and legend are within. */
export interface Box {
  x: number
  y: number
  width: number
  height: number
}

export interface Series {
  name: string
  /** For its colour. */
  className: string
  /** In the order of x; without a y the line is interrupted. */
  points: readonly { x: number; y: number | undefined }[]
}

export interface LineChart {
  heading: string
  series: readonly Series[]
  /** Where the x axis ends; it begins at 0. */
  xMax: number
  xLabel: (value: number, ticks: readonly number[]) => string
  yScale: 'linear' | 'log'
  yLabel: (value: number) => string
}

const LABELS_LEFT = 76
const LABELS_BELOW = 24
const HEADING = 28
const X_TICKS = 8
const Y_TICKS = 5
/** Of 12 pixel text, about: the picture is made where no font can be asked. */
const CHARACTER = 8
const SWATCH = 16

export function lineChart(box: Box, chart: LineChart): string {
  const plot = {
    x: box.x + LABELS_LEFT,
    y: box.y + HEADING,
    width: box.width - LABELS_LEFT,
    height: box.height - HEADING - LABELS_BELOW
  }
  const xTicks = linearTicks(chart.xMax, X_TICKS).filter((tick) => tick <= chart.xMax)
  const yTicks = yTicksOf(chart)
  const toX = (value: number): number => plot.x + (value / chart.xMax) * plot.width
  const toY = scaleY(chart.yScale, yTicks, plot)
  return [
    textElement(box.x, box.y + 12, 'heading', chart.heading),
    legend(box.x + box.width, box.y + 12, chart.series),
    ...yTicks.flatMap((tick) => [
      element('line', { class: 'grid', x1: plot.x, x2: plot.x + plot.width, y1: toY(tick), y2: toY(tick) }),
      textElement(plot.x - 8, toY(tick) + 4, 'quiet right', chart.yLabel(tick))
    ]),
    ...xTicks.map((tick) =>
      textElement(toX(tick), plot.y + plot.height + 18, 'quiet middle', chart.xLabel(tick, xTicks))
    ),
    ...chart.series.flatMap(({ className, points }) =>
      segments(points).map((segment) => line(className, segment, toX, toY))
    )
  ].join('\n')
}

function yTicksOf({ series, yScale }: LineChart): number[] {
  const values = series.flatMap(({ points }) => points.flatMap(({ y }) => (y === undefined ? [] : [y])))
  const max = values.reduce((most, y) => Math.max(most, y), 0) || 1
  if (yScale === 'linear') return linearTicks(max, Y_TICKS)
  const min = values.reduce((least, y) => (y > 0 ? Math.min(least, y) : least), max)
  return logTicks(min, max)
}

function scaleY(scale: LineChart['yScale'], ticks: readonly number[], plot: Box): (value: number) => number {
  const place = scale === 'linear' ? (value: number) => value : (value: number) => Math.log10(value)
  const low = place(ticks[0]!)
  const high = place(ticks.at(-1)!)
  // 0 has no logarithm: it lies at the bottom.
  return (value) =>
    plot.y + plot.height - ((place(Math.max(value, ticks[0]!)) - low) / (high - low)) * plot.height
}

interface Point {
  x: number
  y: number
}

/** Runs of points that have a y. */
function segments(points: Series['points']): Point[][] {
  const found: Point[][] = []
  let open: Point[] | undefined
  for (const { x, y } of points) {
    if (y === undefined) {
      open = undefined
      continue
    }
    if (!open) found.push((open = []))
    open.push({ x, y })
  }
  return found
}

function line(
  className: string,
  points: readonly Point[],
  toX: (x: number) => number,
  toY: (y: number) => number
): string {
  const [first] = points
  // A line of one point would not show.
  if (points.length === 1)
    return element('circle', { class: `area ${className}`, cx: toX(first!.x), cy: toY(first!.y), r: 3 })
  const path = points.map(({ x, y }) => `${round(toX(x))},${round(toY(y))}`).join(' ')
  return element('polyline', { class: `line ${className}`, points: path })
}

/** @param right where it ends */
function legend(right: number, y: number, series: readonly Series[]): string {
  let x = right
  const entries: string[] = []
  for (const { name, className } of series.toReversed()) {
    x -= name.length * CHARACTER
    entries.unshift(textElement(x, y, 'quiet', name))
    x -= SWATCH + 6
    entries.unshift(
      element('line', { class: `line ${className}`, x1: x, x2: x + SWATCH, y1: y - 4, y2: y - 4 })
    )
    x -= SWATCH
  }
  return entries.join('\n')
}
