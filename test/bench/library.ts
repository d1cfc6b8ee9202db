/**
 * `npm run bench -- library`: reads of 4 KiB, 64 in flight on one connection, by the client library, beside libnbd (fio's
 * engine) and `@vates/nbd-client`, from the same server.
 *
 * All of them by TCP: the latter has no Unix sockets.
 */
import * as path from 'node:path'
import { fileURLToPath } from 'node:url'
import { fio } from '../helpers/fio.ts'
import { Launched } from '../helpers/launched.ts'
import { withScope, type Scope } from '../helpers/scope.ts'
import { tempDir } from '../helpers/temp-dir.ts'
import { makeFile } from './image.ts'
import { LoadGenerator } from './load.ts'
import { median, sorted } from './statistics.ts'
import { fetchVatesClient, VATES_CLIENT } from './vates-client.ts'

const MiB = 1024 * 1024
const MQNBD = fileURLToPath(new URL('../../../bin/mqnbd.cjs', import.meta.url))
const VATES_LOAD = fileURLToPath(new URL('vates-load.js', import.meta.url))

const LENGTH = 4096
const DEPTH = 64

/** One run. */
interface Sample {
  /** Reads in a second. */
  rate: number
  /** Of the client, for each read, in us. */
  cpu: number
}

interface Contender {
  name: string
  run: (uri: string, ms: number) => Promise<Sample>
  /** The most memory that it had, in bytes; where it is looked at. */
  memory?: () => number
}

/** A client in Node: one process for all rounds, so that its code is compiled when it counts. */
function generator(scope: Scope, name: string, program?: string, args?: string[]): Contender {
  const load = LoadGenerator.start(program, args)
  scope.teardown(() => load.stop())
  return {
    name,
    run: async (uri, ms) => {
      const done = await load.run({ uri, connections: 1, depth: DEPTH, length: LENGTH, ms })
      return { rate: (done.requests / done.ms) * 1000, cpu: (done.cpuMs * 1000) / done.requests }
    },
    memory: () => load.peakMemory
  }
}

const libnbd: Contender = {
  name: 'libnbd (fio)',
  run: (uri, ms) =>
    withScope(async (scope) => {
      const [job] = await fio(
        scope,
        ...['--name=job', '--ioengine=nbd', `--uri=${uri}`, '--rw=randread', `--bs=${LENGTH}`],
        ...[`--iodepth=${DEPTH}`, '--norandommap', '--time_based', `--runtime=${ms}ms`, '--gtod_reduce=1']
      )
      const { error, read, usr_cpu, sys_cpu } = job!
      if (error !== 0 || read.total_ios === 0) throw new Error(`fio: error ${error}, ${read.total_ios} reads`)
      return { rate: read.iops, cpu: ((usr_cpu + sys_cpu) / 100 / read.iops) * 1e6 }
    })
}

function vates(scope: Scope): Contender[] {
  try {
    return [generator(scope, VATES_CLIENT, VATES_LOAD, [fetchVatesClient()])]
  } catch (error) {
    console.log(`\nWithout ${VATES_CLIENT}: ${(error as Error).message.trim()}`)
    return []
  }
}

/** @returns its URI */
async function startServer(scope: Scope, size: number): Promise<string> {
  const image = path.join(tempDir(scope), 'disk.img')
  makeFile(image, size)
  const server = new Launched(scope, process.execPath, [
    ...[MQNBD, 'serve', '-t', '-b', '127.0.0.1', '-p', '0', '--object', 'iothread,id=io0'],
    ...['--blockdev', `file,node-name=disk,filename=${image}`],
    ...['--export', 'nbd,id=disk,node-name=disk,name=,iothread.0=io0']
  ])
  return (await server.output('stdout', /^mqnbd: serving .* at (nbd\S+)\n/m))[1]!
}

/** @param quick a few moments, to see that it works */
export async function library(quick: boolean): Promise<void> {
  const [size, rounds, ms] = quick ? [16 * MiB, 1, 200] : [256 * MiB, 7, 2000]
  await withScope(async (scope) => {
    const uri = await startServer(scope, size)
    const contenders = [generator(scope, 'mqnbd'), libnbd, ...vates(scope)]
    const samples = contenders.map((): Sample[] => [])
    for (let round = 0; round <= rounds; round++) {
      for (const [i, { run }] of contenders.entries()) {
        const taken = await run(uri, ms)
        if (round > 0) samples[i]!.push(taken)
      }
    }
    print(contenders, samples)
  })
}

function print(contenders: Contender[], samples: Sample[][]): void {
  console.log('\nReads of 4 KiB at random places, one TCP connection, depth 64')
  const row = ([name, ...columns]: string[]): void =>
    console.log(`  ${name!.padEnd(26)}${columns.map((text) => text.padStart(19)).join('')}`)
  row(['', 'reads/s', 'smallest - largest', 'us of CPU each', 'MiB of memory', 'mqnbd to it'])
  for (const [i, { name, memory }] of contenders.entries()) {
    const rates = samples[i]!.map(({ rate }) => rate)
    const ordered = sorted(rates)
    // Above 1 mqnbd is faster.
    const ratios = rates.map((rate, round) => samples[0]![round]!.rate / rate)
    row([
      name,
      median(rates).toFixed(0),
      `${ordered[0]!.toFixed(0)} - ${ordered.at(-1)!.toFixed(0)}`,
      median(samples[i]!.map(({ cpu }) => cpu)).toFixed(1),
      memory === undefined ? '-' : (memory() / MiB).toFixed(0),
      `x${median(ratios).toFixed(2)}`
    ])
  }
}
