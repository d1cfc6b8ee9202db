/** `npm run bench -- multiqueue`: what a second IOThread brings, and what it costs where it cannot help. */
import * as fs from 'node:fs'
import os from 'node:os'
import * as path from 'node:path'
import { NBDServer } from '../../server/index.ts'
import { openNode } from '../../shared/block/driver-registry.ts'
import type { BlockNode } from '../../shared/block/block-node.ts'
import { openImage } from '../../shared/block/index.ts'
import { IOThread } from '../../shared/iothread/io-thread.ts'
import { CLUSTER, INFLATE_FOR, REGISTER_INFLATE, registerInflate } from './inflate-driver.ts'
import { LoadGenerator, type LoadJob } from './load.ts'
import { median, sorted } from './statistics.ts'

const KiB = 1024

/**
 * Before the first run that counts. V8 compiles what a thread does by and by, beside it, and where two threads have both
 * processors it takes them theirs: a quarter of one in the first seconds, a thirtieth after so many.
 */
const WARM_UP_MS = 20_000

/** Threads that are compared, the reference first. */
const THREADS = [1, 2] as const

interface Cell {
  /** For `--only`. */
  name: string
  title: string
  /** It is the inflating that takes the time. */
  inflates: boolean
  job: Omit<LoadJob, 'uri' | 'ms'>
}

const openCellNode = ({ inflates }: Cell): Promise<BlockNode> =>
  inflates ? openNode({ driver: 'bench-inflate' }) : openImage({ image: 'memory:64M' })

const cells: Cell[] = [
  {
    name: 'heavy-one',
    title: 'One connection, reads that inflate 64 KiB each, depth 16',
    inflates: true,
    job: { connections: 1, depth: 16, length: CLUSTER }
  },
  {
    name: 'light-one',
    title: 'One connection, plain reads of 4 KiB, depth 1',
    inflates: false,
    job: { connections: 1, depth: 1, length: 4 * KiB }
  },
  {
    name: 'heavy-four',
    title: 'Four connections, reads that inflate 64 KiB each, depth 16',
    inflates: true,
    job: { connections: 4, depth: 16, length: CLUSTER }
  },
  {
    name: 'light-four',
    title: 'Four connections, plain reads of 4 KiB, depth 16',
    inflates: false,
    job: { connections: 4, depth: 16, length: 4 * KiB }
  }
]

/** One run. */
interface Sample {
  perSecond: number
  /** CPU time of the server for each request, in us. */
  each: number
  /** How many processors were at work for them, on the average. */
  server: number
  load: number
  others: number
}

class Bench {
  readonly server: NBDServer
  readonly uri: string
  readonly #threads: IOThread[]

  private constructor(server: NBDServer, threads: IOThread[], uri: string) {
    this.server = server
    this.#threads = threads
    this.uri = uri
  }

  static async start(folder: string, count: number, node: BlockNode): Promise<Bench> {
    const threads: IOThread[] = []
    for (let i = 0; i < count; i++) {
      const thread = await IOThread.start(`io${i}`)
      await thread.run(REGISTER_INFLATE, undefined)
      threads.push(thread)
    }
    const server = await NBDServer.start()
    await server.addExport(node, { iothreads: threads })
    const socket = path.join(folder, `s${count}`)
    await server.listen({ path: socket })
    return new Bench(server, threads, `nbd+unix:///?socket=${socket}`)
  }

  async close(): Promise<void> {
    await this.server.close(1000)
    await Promise.all(this.#threads.map((thread) => thread.stop()))
  }
}

/** Milliseconds that all processors together have worked. */
const busyMs = (): number =>
  os.cpus().reduce((sum, { times }) => sum + times.user + times.nice + times.sys + times.irq, 0)

async function sample(load: LoadGenerator, uri: string, job: Cell['job'], ms: number): Promise<Sample> {
  const start = performance.now()
  const busy = busyMs()
  const cpu = process.cpuUsage()
  const result = await load.run({ ...job, uri, ms })
  const { user, system } = process.cpuUsage(cpu)
  const serverMs = (user + system) / 1000
  const tookMs = performance.now() - start
  return {
    perSecond: (result.requests * 1000) / result.ms,
    each: (serverMs * 1000) / result.requests,
    server: serverMs / tookMs,
    load: result.cpuMs / result.ms,
    others: Math.max(0, (busyMs() - busy - serverMs - result.cpuMs) / tookMs)
  }
}

const range = (values: number[], digits: number): string => {
  const ordered = sorted(values)
  return `${ordered[0]!.toFixed(digits)} - ${ordered.at(-1)!.toFixed(digits)}`
}

/** Of a table, by columns. */
const WIDTHS = [12, 12, 22, 16, 8, 8, 8]
const row = (columns: string[]): string =>
  `  ${columns.map((text, i) => (i === 0 ? text.padEnd(WIDTHS[i]!) : text.padStart(WIDTHS[i]!))).join('')}`

/** @param bareRatio of two threads that only inflate, to one */
function print({ title, inflates }: Cell, samples: Sample[][], bareRatio: number): void {
  const processors = os.cpus().length
  console.log(`\n${title}`)
  const head = ['', 'requests/s', 'smallest - largest', 'us of CPU each', 'server', 'load', 'others']
  console.log(row(head))
  for (const [i, runs] of samples.entries()) {
    const of = (key: keyof Sample): number[] => runs.map((run) => run[key])
    const name = `${THREADS[i]} IOThread${THREADS[i] === 1 ? '' : 's'}`
    const middle = (key: keyof Sample, digits: number): string => median(of(key)).toFixed(digits)
    const shares = (['server', 'load', 'others'] as const).map((key) => middle(key, 2))
    console.log(row([name, middle('perSecond', 0), range(of('perSecond'), 0), middle('each', 1), ...shares]))
  }
  const [one, two] = samples as [Sample[], Sample[]]
  const ratios = two.map(({ perSecond }, round) => perSecond / one[round]!.perSecond)
  const reached = median(ratios)
  const left = median(two.map(({ load, others }) => Math.max(0, processors - load - others)))
  const leftText = `${left.toFixed(2)} of ${processors} processors`
  console.log(`  ratio of each pair: median x${reached.toFixed(2)}, ${range(ratios, 2)}`)
  console.log(`  with 2, load and others left ${leftText} to the server`)
  if (!inflates) return
  const bound = bareRatio * Math.min(1, left / THREADS[1])
  console.log(`  that much of the x${bareRatio.toFixed(2)} of two bare threads is x${bound.toFixed(2)}`)
  console.log(`  reached: ${((reached / bound) * 100).toFixed(0)} % of that`)
}

/**
 * What two processors give for two threads that do nothing but inflate: no server can bring more.
 *
 * @returns that ratio
 */
async function bare(rounds: number, ms: number): Promise<number> {
  const threads = await Promise.all(THREADS.map((_, i) => IOThread.start(`bare${i}`)))
  const ratios: number[] = []
  for (let round = 0; round < rounds; round++) {
    const times: number[] = []
    for (const count of THREADS) {
      const done = await Promise.all(threads.slice(0, count).map((thread) => thread.run(INFLATE_FOR, ms)))
      times.push(done.reduce((sum, n) => sum + n, 0))
    }
    ratios.push(times[1]! / times[0]!)
  }
  await Promise.all(threads.map((thread) => thread.stop()))
  const ratio = `median x${median(ratios).toFixed(2)}, ${range(ratios, 2)}`
  console.log(`\nTwo threads that only inflate, without a server, to one: ${ratio}`)
  return median(ratios)
}

/**
 * @param quick a few moments, to see that it works
 * @param only name of a cell; all of them if not given
 */
export async function multiqueue(quick: boolean, only?: string): Promise<void> {
  const chosen = cells.filter(({ name }) => only === undefined || name === only)
  if (chosen.length === 0) {
    throw new Error(`no such cell: ${only}; known: ${cells.map(({ name }) => name).join(', ')}`)
  }
  const rounds = quick ? 1 : 31
  const ms = quick ? 100 : 400
  registerInflate()
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mqnbd-bench-'))
  const load = LoadGenerator.start()
  try {
    const bareRatio = await bare(rounds, ms / 2)
    for (const cell of chosen) {
      const { job } = cell
      const benches: Bench[] = []
      for (const count of THREADS) benches.push(await Bench.start(folder, count, await openCellNode(cell)))
      for (const { uri } of benches) await load.run({ ...job, uri, ms: quick ? ms : WARM_UP_MS })
      const samples: Sample[][] = THREADS.map(() => [])
      for (let round = 0; round < rounds; round++) {
        // Each begins as often as the other.
        const order = round % 2 === 0 ? [0, 1] : [1, 0]
        for (const i of order) {
          samples[i]!.push(await sample(load, benches[i]!.uri, job, ms))
        }
      }
      print(cell, samples, bareRatio)
      await Promise.all(benches.map((bench) => bench.close()))
    }
  } finally {
    load.stop()
    fs.rmSync(folder, { recursive: true, force: true })
  }
}
