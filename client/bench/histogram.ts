/**
 * Counts of values, each kept to its first decimal digits: as HDR histograms do, but in base ten, so that buckets begin and
 * end at the numbers that people read (100, 200, 500 ...), and nothing is counted on the wrong side of one.
 *
 * With four digits, a value below 10,000 has a bucket of its own, and one from 10^k on shares it with at most 10^(k-3) others.
 * Minimum, maximum, mean and number are exact.
 *
 * @see HdrHistogram; circllhist, whose buckets these are with two digits
 */
import { bugError } from '../../shared/errors/nbd-error.ts'

/** What a bucket counts: values from `from`, and below `to`. */
export interface Bucket {
  from: number
  to: number
  count: number
}

/** Values of up to 15 digits: 10^15 ns are eleven days. */
const MAX_VALUE = 1e15 - 1

export class Histogram {
  readonly digits: number
  count = 0
  max = 0
  #min = Infinity
  #sum = 0
  readonly #counts: Float64Array
  /** Values below this have buckets of their own. */
  readonly #exact: number
  /** Buckets of each further power of ten. */
  readonly #perDecade: number

  /** @param digits that are kept of each value: 1 to 4 */
  constructor(digits = 4) {
    this.digits = digits
    this.#exact = 10 ** digits
    this.#perDecade = this.#exact - this.#exact / 10
    this.#counts = new Float64Array(this.#exact + (15 - digits) * this.#perDecade)
  }

  get min(): number {
    return this.count === 0 ? 0 : this.#min
  }

  get mean(): number {
    return this.count === 0 ? 0 : this.#sum / this.count
  }

  /** @param value 0 or more; its fraction is dropped, and what is beyond 10^15 - 1 counts as that */
  record(value: number): void {
    const whole = Math.min(Math.floor(value), MAX_VALUE)
    this.#counts[this.#index(whole)]!++
    this.count++
    this.#sum += whole
    if (whole > this.max) this.max = whole
    if (whole < this.#min) this.#min = whole
  }

  /**
   * The smallest value that at least `percent` of all values do not exceed; rounded up to the end of its bucket, and never
   * more than `max`. 0 when nothing was recorded.
   */
  percentile(percent: number): number {
    const wanted = Math.max(1, Math.ceil((percent / 100) * this.count))
    let seen = 0
    for (let i = 0; i < this.#counts.length; i++) {
      seen += this.#counts[i]!
      if (seen >= wanted) return Math.min(this.#start(i + 1) - 1, this.max)
    }
    return 0
  }

  /** Adds what another one, of as many digits, has counted. */
  add(other: Histogram): void {
    if (other.digits !== this.digits) throw bugError('histograms of different precision')
    for (let i = 0; i < this.#counts.length; i++) this.#counts[i]! += other.#counts[i]!
    this.count += other.count
    this.#sum += other.#sum
    this.max = Math.max(this.max, other.max)
    this.#min = Math.min(this.#min, other.#min)
  }

  /** Those that have counted anything, in order. */
  *buckets(): Generator<Bucket, void, undefined> {
    for (let i = 0; i < this.#counts.length; i++) {
      if (this.#counts[i]! > 0) {
        yield { from: this.#start(i), to: this.#start(i + 1), count: this.#counts[i]! }
      }
    }
  }

  #index(value: number): number {
    let top = value
    let index = 0
    while (top >= this.#exact) {
      top = Math.floor(top / 10)
      index += this.#perDecade
    }
    return index + top
  }

  /** Least value of a bucket. */
  #start(index: number): number {
    if (index < this.#exact) return index
    const decade = Math.floor((index - this.#exact) / this.#perDecade) + 1
    return (index - decade * this.#perDecade) * 10 ** decade
  }
}
