/** A histogram as lines of text, for a terminal. */
import { formatDuration } from './format.ts'
import type { Bucket, Histogram } from './histogram.ts'

/** Where lines begin, within each power of ten. */
const STEPS = [1, 2, 5]
/** Room for the two ends and the share, left of the bar. */
const LABEL_WIDTH = 32
const MIN_BAR_WIDTH = 10
/** Parts of a character, in eighths. */
const EIGHTHS = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉']

/**
 * The buckets of a histogram put together to those that are drawn: 1 to 2, 2 to 5, 5 to 10 of each power of ten, from the
 * first that is not empty to the last. They are exact, as the histogram's own begin at the same numbers.
 */
export function drawnBuckets(histogram: Histogram): Bucket[] {
  const drawn: Bucket[] = []
  for (const { from, count } of histogram.buckets()) {
    while (drawn.length > 0 && drawn.at(-1)!.to <= from) {
      const { to } = drawn.at(-1)!
      drawn.push({ from: to, to: edgeAbove(to), count: 0 })
    }
    if (drawn.length === 0) drawn.push({ from: edgeAtOrBelow(from), to: edgeAbove(from), count: 0 })
    drawn.at(-1)!.count += count
  }
  return drawn
}

/** The next of 1, 2, 5, 10, 20 ... above `value`. */
function edgeAbove(value: number): number {
  for (let power = 1; ; power *= 10) {
    const step = STEPS.find((step) => step * power > value)
    if (step !== undefined) return step * power
  }
}

function edgeAtOrBelow(value: number): number {
  let edge = 0
  while (edgeAbove(edge) <= value) edge = edgeAbove(edge)
  return edge
}

/**
 * A line for each bucket: its ends, its share of all values, and a bar.
 *
 * @param histogram of durations in nanoseconds
 * @param width of a line, in characters
 */
export function drawHistogram(histogram: Histogram, width: number): string[] {
  const buckets = drawnBuckets(histogram)
  const most = Math.max(...buckets.map(({ count }) => count))
  const barWidth = Math.max(MIN_BAR_WIDTH, width - LABEL_WIDTH)
  return buckets.map(({ from, to, count }) => {
    const ends = `${formatDuration(from).padStart(8)} ..${formatDuration(to).padStart(8)}`
    const share = `${((count / histogram.count) * 100).toFixed(2)}%`
    return `  ${ends} ${share.padStart(8)}  ${bar(count / most, barWidth)}`.trimEnd()
  })
}

/** What was counted at all shows. */
function bar(part: number, width: number): string {
  const eighths = part === 0 ? 0 : Math.max(1, Math.round(part * width * 8))
  return '█'.repeat(Math.floor(eighths / 8)) + EIGHTHS[eighths % 8]!
}
