import t from 'tap'
import { Coverage } from '../../../../client/transmission/coverage.ts'

/** The obvious way. */
class NaiveCoverage {
  readonly #bytes: boolean[]
  constructor(length: number) {
    this.#bytes = Array.from({ length }, () => false)
  }
  get complete(): boolean {
    return this.#bytes.every((byte) => byte)
  }
  add(start: number, end: number): boolean {
    if (start < 0 || end > this.#bytes.length) return false
    if (this.#bytes.slice(start, end).some((byte) => byte)) return false
    this.#bytes.fill(true, start, end)
    return true
  }
}

void t.test('Coverage - one piece is all', async (t) => {
  const coverage = new Coverage(10)
  t.notOk(coverage.complete)
  t.equal(coverage.add(0, 10), undefined)
  t.ok(coverage.complete)
})

void t.test('Coverage - says what is wrong', async (t) => {
  const coverage = new Coverage(10)
  t.match(coverage.add(-1, 5), /outside/)
  t.match(coverage.add(5, 11), /outside/)
  t.match(coverage.add(Infinity, Infinity), /outside/)
  t.equal(coverage.add(2, 4), undefined)
  t.match(coverage.add(3, 5), /overlaps/)
  t.match(coverage.add(0, 10), /overlaps/)
})

void t.test('Coverage - agrees with the obvious way, whatever comes', async (t) => {
  let seed = 1
  const random = (below: number): number => {
    seed = (seed * 48271) % 2147483647
    return seed % below
  }
  const differences: string[] = []
  let completed = 0
  let refused = 0
  for (let round = 0; round < 300; round++) {
    const length = 1 + random(24)
    const [fast, naive] = [new Coverage(length), new NaiveCoverage(length)]
    for (let piece = 0; piece < 40; piece++) {
      const start = random(length + 1) - (random(20) === 0 ? 1 : 0)
      const end = start + 1 + random(4)
      const legal = naive.add(start, end)
      if (!legal) refused++
      const agreed = (fast.add(start, end) === undefined) === legal && fast.complete === naive.complete
      if (!agreed) differences.push(`round ${round}: ${start} to ${end} of ${length}`)
    }
    if (fast.complete) completed++
  }
  t.strictSame(differences, [])
  t.ok(completed > 20 && refused > 1000, 'the rounds were worth it')
})

void t.test('Coverage - remembers a bounded number of pieces', async (t) => {
  const coverage = new Coverage(2 ** 25)
  let problem: string | undefined
  let pieces = 0
  for (let at = 0; at < 2 ** 25 && problem === undefined; at += 2, pieces++)
    problem = coverage.add(at, at + 1)
  t.match(problem, /too many/)
  t.ok(pieces >= 2 ** 25 / 512, 'chunks of 512 bytes in any order are not too many')
})
