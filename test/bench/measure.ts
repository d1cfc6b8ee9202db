/** Measuring: several runs of each contender, in turn, and their medians. */

export interface Contender {
  name: string
  /** Does the work `count` times. @returns ns for each, where that is not the time it took */
  run: (count: number) => void | number | Promise<void | number>
}

export interface Figure {
  name: string
  /** Median over the runs, in ns for each time. */
  ns: number
  /** The smallest and the largest. */
  min: number
  max: number
}

const median = (sorted: number[]): number => sorted[Math.floor(sorted.length / 2)]!

/**
 * Measures contenders side by side: round after round, each once in every round, so that a noisy moment hits all. The
 * first round warms up and does not count.
 */
export async function measure(contenders: Contender[], count: number, rounds: number): Promise<Figure[]> {
  const times = contenders.map((): number[] => [])
  for (let round = 0; round <= rounds; round++) {
    for (const [i, { run }] of contenders.entries()) {
      const start = performance.now()
      const ns = (await run(count)) ?? ((performance.now() - start) * 1e6) / count
      if (round > 0) times[i]!.push(ns)
    }
  }
  return contenders.map(({ name }, i) => {
    const sorted = times[i]!.sort((a, b) => a - b)
    return { name, ns: median(sorted), min: sorted[0]!, max: sorted.at(-1)! }
  })
}

const time = (ns: number): string =>
  ns >= 1e6
    ? `${(ns / 1e6).toFixed(2)} ms`
    : ns >= 1e3
      ? `${(ns / 1e3).toFixed(2)} us`
      : `${ns.toFixed(0)} ns`

/** Prints a table; the ratio is to the figure called `reference`, where one is. */
export function printTable(title: string, figures: Figure[], reference?: string): void {
  const base = figures.find(({ name }) => name === reference)?.ns
  console.log(`\n${title}`)
  for (const { name, ns, min, max } of figures) {
    const ratio = base === undefined ? '' : `x${(ns / base).toFixed(2)}`
    console.log(
      `  ${name.padEnd(52)} ${time(ns).padStart(10)}  ${`${time(min)} - ${time(max)}`.padStart(24)}  ${ratio}`
    )
  }
}
