/**
 * What happened when: requests, bytes and latencies of each interval of a run.
 *
 * A run may last for any time: when there are too many intervals, each two become one of twice the length.
 */
import { Histogram } from './histogram.ts'

/** After the last one they are joined; an even number. */
export const MAX_INTERVALS = 400
const FIRST_INTERVAL_MS = 50
/** Enough for a picture. */
const DIGITS = 2

export interface Interval {
  requests: number
  readBytes: number
  writtenBytes: number
  /** Of reads and writes, in nanoseconds. */
  latencies: Histogram
}

export class TimeSeries {
  #intervalMs = FIRST_INTERVAL_MS
  #intervals: Interval[] = []

  get intervalMs(): number {
    return this.#intervalMs
  }

  /** From the start on; the last one may be cut off by the end of the run. */
  get intervals(): readonly Interval[] {
    return this.#intervals
  }

  /**
   * Counts a request that has ended.
   *
   * @param atMs since the start
   */
  record(atMs: number, operation: 'read' | 'write', bytes: number, latencyNs: number): void {
    const interval = this.#at(atMs)
    interval.requests++
    if (operation === 'read') interval.readBytes += bytes
    else interval.writtenBytes += bytes
    interval.latencies.record(latencyNs)
  }

  #at(atMs: number): Interval {
    while (atMs >= this.#intervalMs * MAX_INTERVALS) this.#join()
    const index = Math.floor(atMs / this.#intervalMs)
    while (this.#intervals.length <= index) this.#intervals.push(newInterval())
    return this.#intervals[index]!
  }

  #join(): void {
    const joined: Interval[] = []
    for (const [i, interval] of this.#intervals.entries()) {
      if (i % 2 === 0) joined.push(interval)
      else addTo(joined.at(-1)!, interval)
    }
    this.#intervals = joined
    this.#intervalMs *= 2
  }
}

const newInterval = (): Interval => ({
  requests: 0,
  readBytes: 0,
  writtenBytes: 0,
  latencies: new Histogram(DIGITS)
})

function addTo(sum: Interval, other: Interval): void {
  sum.requests += other.requests
  sum.readBytes += other.readBytes
  sum.writtenBytes += other.writtenBytes
  sum.latencies.add(other.latencies)
}
