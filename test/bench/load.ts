/** The load generator: reads at random places, in a process of its own, so that it has a CPU time. */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { connect } from '../../client/index.ts'
import { peakMemory } from './servers/process-cost.ts'

const PROGRAM = fileURLToPath(import.meta.url)

/** A connection of the client that makes the load. */
export interface LoadDisk {
  size: number
  /** `into` is free for the next read afterwards. */
  read(offset: number, into: Buffer): Promise<unknown>
  close(): Promise<void>
}

export interface LoadJob {
  uri: string
  connections: number
  /** Reads in flight on each connection. */
  depth: number
  /** Of each read. */
  length: number
  ms: number
}

export interface LoadResult {
  requests: number
  ms: number
  /** CPU time of the generator. */
  cpuMs: number
}

export class LoadGenerator {
  readonly #child: ChildProcess
  readonly #ended: Promise<never>

  private constructor(child: ChildProcess) {
    this.#child = child
    this.#ended = once(child, 'exit').then(([status]) => {
      throw new Error(`the load generator has ended: ${String(status)}`)
    })
    // After `stop` nobody waits for it.
    this.#ended.catch(() => undefined)
  }

  /** @param program answers jobs by `serveLoads`; mqnbd's own client if not given */
  static start(program = PROGRAM, args: string[] = []): LoadGenerator {
    return new LoadGenerator(fork(program, args, { stdio: 'inherit' }))
  }

  /** The most memory that was resident so far, in bytes. */
  get peakMemory(): number {
    return peakMemory(this.#child.pid!)
  }

  async run(job: LoadJob): Promise<LoadResult> {
    this.#child.send(job)
    const answered = once(this.#child, 'message') as Promise<[LoadResult]>
    const [result] = await Promise.race([answered, this.#ended])
    return result
  }

  stop(): void {
    this.#child.disconnect()
  }
}

async function load(open: (uri: string) => Promise<LoadDisk>, job: LoadJob): Promise<LoadResult> {
  const { uri, connections, depth, length, ms } = job
  const disks = await Promise.all(Array.from({ length: connections }, () => open(uri)))
  const places = Math.floor(disks[0]!.size / length)
  const cpu = process.cpuUsage()
  const start = performance.now()
  let requests = 0
  const lanes = disks.flatMap((disk) =>
    Array.from({ length: depth }, async () => {
      const into = Buffer.alloc(length)
      while (performance.now() - start < ms) {
        await disk.read(Math.floor(Math.random() * places) * length, into)
        requests++
      }
    })
  )
  await Promise.all(lanes)
  const took = performance.now() - start
  const { user, system } = process.cpuUsage(cpu)
  await Promise.all(disks.map((disk) => disk.close()))
  return { requests, ms: took, cpuMs: (user + system) / 1000 }
}

/** Does the jobs that the parent sends, by the client that `open` belongs to. */
export function serveLoads(open: (uri: string) => Promise<LoadDisk>): void {
  process.on('message', (job: LoadJob) => void load(open, job).then((result) => process.send!(result)))
}

if (process.argv[1] === PROGRAM) serveLoads(connect)
