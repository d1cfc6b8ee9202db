/**
 * Runs a load: several disks (a connection each), on each so many requests in flight, until there were enough of them, the
 * time is over, or it is told to stop. What is in flight then is waited for, and counted when it was begun in time.
 */
import { Histogram } from './histogram.ts'
import { Load, writes, type LoadShape, type Operation } from './load.ts'
import { TimeSeries } from './time-series.ts'

/** What of a disk is loaded. */
export interface LoadTarget {
  read(offset: number, into: Buffer): Promise<Buffer>
  write(offset: number, data: Buffer): Promise<void>
  flush(): Promise<void>
}

export interface RunOptions {
  shape: LoadShape
  /** Requests in flight on each disk. */
  depth: number
  /** From the end of the warm-up on; undefined for no bound. */
  runtimeMs: number | undefined
  /** Reads and writes together, from the end of the warm-up on; undefined for no bound. */
  requests: number | undefined
  /** What happens before this is not counted. */
  warmupMs: number
  /** A disk flushes after each so many of its writes; 0 for never. */
  flushEvery: number
  /** Ends the run early. */
  signal: AbortSignal
  /** Called once a second, with what was measured so far. */
  onProgress?: (sofar: RunResult) => void
}

/** What one kind of request came to. */
export interface OperationResult {
  bytes: number
  /** Nanoseconds. */
  latencies: Histogram
}

export interface RunResult {
  reads: OperationResult
  writes: OperationResult
  flushes: OperationResult
  /** Of the measured time. */
  seconds: number
  cpuSeconds: { user: number; system: number }
  series: TimeSeries
  /** By the signal. */
  interrupted: boolean
}

const PROGRESS_MS = 1000
const NS_PER_MS = 1e6

/**
 * @param disks stay the caller's
 * @throws NBDError the first failure of a request; the others in flight have ended then
 */
export async function runLoad(disks: readonly LoadTarget[], options: RunOptions): Promise<RunResult> {
  return new LoadRun(options).run(disks)
}

class LoadRun {
  readonly #options: RunOptions
  readonly #load: Load
  readonly #reads: OperationResult = { bytes: 0, latencies: new Histogram() }
  readonly #writes: OperationResult = { bytes: 0, latencies: new Histogram() }
  readonly #flushes: OperationResult = { bytes: 0, latencies: new Histogram() }
  readonly #series = new TimeSeries()
  /** Requests that are still to be sent. */
  #left = Infinity
  #stopped = false
  #failed = false
  #failure: unknown
  /** Undefined while it warms up. */
  #start: number | undefined
  #cpuAtStart = process.cpuUsage()

  constructor(options: RunOptions) {
    this.#options = options
    this.#load = new Load(options.shape)
  }

  async run(disks: readonly LoadTarget[]): Promise<RunResult> {
    const { warmupMs, signal, onProgress, depth } = this.#options
    const stop = (): void => {
      this.#stopped = true
    }
    signal.addEventListener('abort', stop)
    if (signal.aborted) stop()
    let timer: NodeJS.Timeout | undefined
    const measure = (): void => {
      this.#begin()
      if (this.#options.runtimeMs !== undefined) timer = setTimeout(stop, this.#options.runtimeMs)
    }
    if (warmupMs > 0) timer = setTimeout(measure, warmupMs)
    else measure()
    const progress = onProgress && setInterval(() => onProgress(this.#result()), PROGRESS_MS)
    try {
      await Promise.all(disks.flatMap((disk) => this.#workers(disk, depth)))
    } finally {
      clearTimeout(timer)
      clearInterval(progress)
      signal.removeEventListener('abort', stop)
    }
    if (this.#failed) throw this.#failure
    return this.#result()
  }

  #begin(): void {
    this.#start = performance.now()
    this.#cpuAtStart = process.cpuUsage()
    this.#left = this.#options.requests ?? Infinity
  }

  #result(): RunResult {
    const { user, system } = process.cpuUsage(this.#cpuAtStart)
    const measured = this.#start === undefined ? 0 : performance.now() - this.#start
    return {
      reads: this.#reads,
      writes: this.#writes,
      flushes: this.#flushes,
      seconds: measured / 1000,
      cpuSeconds: { user: user / 1e6, system: system / 1e6 },
      series: this.#series,
      interrupted: this.#options.signal.aborted
    }
  }

  /** As many as requests in flight; none rejects. */
  #workers(disk: LoadTarget, depth: number): Promise<void>[] {
    const { shape, flushEvery } = this.#options
    // All that a disk writes is the same: what matters is that it does not compress.
    const data = writes(shape.kind) ? this.#newData() : undefined
    const flushing = { every: flushEvery, written: 0 }
    return Array.from({ length: depth }, async () => {
      const into = shape.kind.endsWith('write') ? undefined : Buffer.alloc(shape.blockSize)
      try {
        await this.#work(disk, into, data, flushing)
      } catch (error) {
        if (!this.#failed) this.#failure = error
        this.#failed = true
        this.#stopped = true
      }
    })
  }

  #newData(): Buffer {
    const data = Buffer.alloc(this.#options.shape.blockSize)
    this.#load.fill(data)
    return data
  }

  /** One request after the other. */
  async #work(
    disk: LoadTarget,
    into: Buffer | undefined,
    data: Buffer | undefined,
    flushing: { every: number; written: number }
  ): Promise<void> {
    while (!this.#stopped && this.#left > 0) {
      this.#left--
      const operation = this.#load.nextOperation()
      const offset = this.#load.nextOffset()
      const begin = performance.now()
      if (operation === 'read') await disk.read(offset, into!)
      else await disk.write(offset, data!)
      this.#record(operation, begin)
      if (operation === 'read' || flushing.every === 0 || ++flushing.written % flushing.every !== 0) continue
      const flushBegin = performance.now()
      await disk.flush()
      this.#record('flush', flushBegin)
    }
  }

  #record(operation: Operation | 'flush', begin: number): void {
    // What was begun before the measurement is the warm-up's.
    if (this.#start === undefined || begin < this.#start) return
    const now = performance.now()
    const latency = (now - begin) * NS_PER_MS
    if (operation === 'flush') {
      this.#flushes.latencies.record(latency)
      return
    }
    const { blockSize } = this.#options.shape
    const result = operation === 'read' ? this.#reads : this.#writes
    result.bytes += blockSize
    result.latencies.record(latency)
    this.#series.record(now - this.#start, operation, blockSize, latency)
  }
}
