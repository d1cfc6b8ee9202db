/** Who puts load on a server: fio and nbdcopy, as commands. */
import { fioUnder, type FioJob } from '../../helpers/fio.ts'
import { runOk } from '../../helpers/launched.ts'
import { program } from '../../helpers/requires.ts'
import { withScope } from '../../helpers/scope.ts'
import { cpuAtRest, peakMemory, resetPeakMemory } from './process-cost.ts'
import type { Cell, CopyLoad, FioLoad } from './cells.ts'
import type { RunningServer } from './start-server.ts'
import { certificatesIn } from './contenders.ts'

const GiB = 1024 ** 3

/** How often the memory is looked at: that of children is gone with them. */
const MEMORY_MS = 50

export interface DriverOptions {
  /** Of each run of fio. */
  ms: number
  /** Of the image, in bytes. */
  size: number
  /** A file of that size, for nbdcopy to read. */
  source: string
}

/** One run. */
export interface Sample {
  /** Units in a second. */
  rate: number
  units: number
  /** Seconds of processor time that the server has used. */
  cpu: number
  /** Bytes. */
  memory: number
  /** Processors that the load generator kept busy; undefined where it does not tell. */
  load: number | undefined
}

type Done = Pick<Sample, 'rate' | 'units' | 'load'>

/** Runs the cell's load once against a server. @throws Error when a request failed */
export async function sample(cell: Cell, server: RunningServer, options: DriverOptions): Promise<Sample> {
  const { load, unit } = cell
  resetPeakMemory(server.pid)
  const cpu = await cpuAtRest(server.pid)
  let memory = 0
  const look = (): void => void (memory = Math.max(memory, peakMemory(server.pid)))
  const timer = setInterval(look, MEMORY_MS)
  try {
    const done = await (load.tool === 'fio'
      ? runFio(load, unit, server, options.ms)
      : runCopy(load, server, options))
    look()
    return { ...done, cpu: (await cpuAtRest(server.pid)) - cpu, memory }
  } finally {
    clearInterval(timer)
  }
}

async function runFio(load: FioLoad, unit: Cell['unit'], server: RunningServer, ms: number): Promise<Done> {
  const { rw, bytes, depth, connections } = load
  const job = await oneJob(
    server,
    ...[`--rw=${rw}`, `--bs=${bytes}`, `--iodepth=${depth}`, `--numjobs=${connections}`],
    ...['--rwmixread=70', '--norandommap', '--time_based', `--runtime=${ms}ms`],
    // Only what is shown is measured: fio's own time counts.
    ...['--group_reporting', '--gtod_reduce=1']
  )
  const requests = job.read.total_ios + job.write.total_ios
  const iops = job.read.iops + job.write.iops
  if (requests === 0) throw new Error(`fio did nothing in ${ms} ms`)
  const each = unit === 'requests' ? 1 : bytes / GiB
  const busy = (connections * (job.usr_cpu + job.sys_cpu)) / 100
  return { rate: iops * each, units: requests * each, load: busy }
}

const oneJob = (server: RunningServer, ...options: string[]): Promise<FioJob> =>
  withScope(async (scope) => {
    const { uri, home } = server
    const under = home === undefined ? [] : withHome(home)
    const [job] = await fioUnder(scope, under, '--name=job', '--ioengine=nbd', `--uri=${uri}`, ...options)
    if (job!.error !== 0) throw new Error(`fio: error ${job!.error}`)
    return job!
  })

/**
 * libnbd does not take a folder of certificates from a URI that fio passes. It looks for one in the home of its user,
 * unless that is root, which in a user namespace it is not.
 */
const withHome = (home: string): string[] => [
  ...(process.getuid!() === 0 ? ['unshare', '--user'] : []),
  ...['env', `HOME=${home}`]
]

async function runCopy(
  { direction }: CopyLoad,
  server: RunningServer,
  { size, source }: DriverOptions
): Promise<Done> {
  const { home } = server
  const uri = home === undefined ? server.uri : `${server.uri}?tls-certificates=${certificatesIn(home)}`
  const files = direction === 'from' ? [uri, 'null:'] : [source, uri]
  const start = performance.now()
  await withScope((scope) => runOk(scope, program('nbdcopy'), files))
  const seconds = (performance.now() - start) / 1000
  return { rate: size / GiB / seconds, units: size / GiB, load: undefined }
}

/** Writes with fio, and reads what was written. @throws Error when it is not that */
export async function verify(server: RunningServer): Promise<void> {
  await oneJob(
    server,
    ...['--rw=randwrite', '--bsrange=4k-256k', '--iodepth=16', '--size=8M'],
    ...['--verify=crc32c', '--verify_fatal=1']
  )
}
