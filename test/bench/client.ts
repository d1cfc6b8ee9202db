/**
 * `npm run bench -- client`: copying 1 GiB by `mqnbd copy`, beside nbdcopy and qemu-img, as commands from start to end; and
 * then the reads of `library.ts`.
 *
 * The server, and the disk that is written to, are nbdkit's: nobody's own.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import * as fs from 'node:fs'
import os from 'node:os'
import * as path from 'node:path'
import { fileURLToPath } from 'node:url'
import { findProgram, program } from '../helpers/requires.ts'
import { makeFile } from './image.ts'
import { library } from './library.ts'
import { median, sorted } from './statistics.ts'

const MiB = 1024 * 1024
const MQNBD = fileURLToPath(new URL('../../../bin/mqnbd.cjs', import.meta.url))

/** GNU time tells what a command took. */
const NEEDED = ['nbdkit', 'nbdcopy', 'qemu-img', 'fio', 'time']

/** Node reads these certificates whenever it starts, which takes longer than the rest of that; nothing here uses them. */
const { NODE_EXTRA_CA_CERTS: _, ...ENVIRONMENT } = process.env

interface Contender {
  name: string
  /** A command line. */
  command: (from: string, to: string) => string[]
}

/** The first is the reference. */
const CONTENDERS: Contender[] = [
  { name: 'nbdcopy', command: (from, to) => ['nbdcopy', from, to] },
  {
    name: 'qemu-img convert',
    command: (from, to) => ['qemu-img', 'convert', '-n', '-W', '-f', 'raw', '-O', 'raw', from, to]
  },
  { name: 'mqnbd copy', command: (from, to) => [process.execPath, MQNBD, 'copy', from, to] },
  // Node, and our code, before the first request: part of the line above.
  { name: 'starting mqnbd', command: () => [process.execPath, MQNBD, 'copy', '/dev/null', 'null:'] }
]

interface Cell {
  title: string
  from: string
  to: string
  /** Who cannot do that. */
  without?: string
}

/** One run of a command. */
interface Sample {
  ms: number
  /** CPU time of the command, in ms. */
  cpu: number
  /** The most memory that it had, in MiB. */
  memory: number
}

async function nbdkit(
  folder: string,
  name: string,
  args: string[]
): Promise<{ uri: string; child: ChildProcess }> {
  const [socket, pid] = [path.join(folder, `${name}.sock`), path.join(folder, `${name}.pid`)]
  const child = spawn('nbdkit', ['-f', '-U', socket, '-P', pid, ...args], {
    stdio: ['ignore', 'ignore', 'inherit']
  })
  while (!fs.existsSync(pid)) {
    if (child.exitCode !== null) throw new Error(`nbdkit ended with ${child.exitCode}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  return { uri: `nbd+unix:///?socket=${socket}`, child }
}

function sample([command, ...args]: string[]): Sample {
  const start = performance.now()
  const { status, stderr } = spawnSync(program('time'), ['-f', '%U %S %M', command!, ...args], {
    encoding: 'utf8',
    env: ENVIRONMENT
  })
  const ms = performance.now() - start
  const [user, system, kib] = stderr.trim().split('\n').at(-1)!.split(' ').map(Number) as [
    number,
    number,
    number
  ]
  if (status !== 0) throw new Error(`${command}: ${stderr}`)
  return { ms, cpu: (user + system) * 1000, memory: kib / 1024 }
}

function print(title: string, size: number, results: { name: string; samples: Sample[] }[]): void {
  console.log(`\n${title}`)
  const row = (columns: string[]): string =>
    `  ${columns[0]!.padEnd(18)}${columns
      .slice(1)
      .map((text) => text.padStart(18))
      .join('')}`
  console.log(row(['', 'ms', 'smallest-largest', 'GB/s', 'CPU ms', 'MiB of memory', 'ratio of time']))
  const reference = results[0]!.samples
  for (const { name, samples } of results) {
    const times = samples.map(({ ms }) => ms)
    const ordered = sorted(times)
    // Above 1 it is faster than the reference.
    const ratios = times.map((ms, round) => reference[round]!.ms / ms)
    console.log(
      row([
        name,
        median(times).toFixed(0),
        `${ordered[0]!.toFixed(0)} - ${ordered.at(-1)!.toFixed(0)}`,
        (size / 1e6 / median(times)).toFixed(2),
        median(samples.map(({ cpu }) => cpu)).toFixed(0),
        median(samples.map(({ memory }) => memory)).toFixed(0),
        `x${median(ratios).toFixed(2)}`
      ])
    )
  }
  const [ours, starting] = results.slice(-2).map(({ samples }) => samples.map(({ ms }) => ms)) as [
    number[],
    number[]
  ]
  const others = results.slice(0, -2).map(({ samples }) => samples.map(({ ms }) => ms))
  const of = (own: number[]): string =>
    median(own.map((ms, round) => Math.min(...others.map((times) => times[round]!)) / ms)).toFixed(2)
  const started = ours.map((ms, round) => ms - starting[round]!)
  console.log(`  mqnbd copy is x${of(ours)} of the better one; without starting, x${of(started)}`)
}

/** @param quick a few moments, to see that it works */
export async function client(quick: boolean): Promise<void> {
  const missing = NEEDED.filter((name) => findProgram(name) === undefined)
  if (missing.length > 0) throw new Error(`bench client needs ${missing.join(', ')}`)
  const size = quick ? 16 * MiB : 1024 * MiB
  const rounds = quick ? 1 : 7
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mqnbd-bench-'))
  const children: ChildProcess[] = []
  try {
    const file = path.join(folder, 'disk.img')
    makeFile(file, size)
    const serve = async (name: string, ...args: string[]): Promise<string> => {
      const { uri, child } = await nbdkit(folder, name, args)
      children.push(child)
      return uri
    }
    const full = await serve('file', '-r', 'file', file)
    const sink = await serve('null', 'null', String(size))
    const memory = await serve('memory', 'memory', String(size))
    const cells: Cell[] = [
      // qemu-img has no null:, and writing elsewhere is other work.
      { title: 'From a server to null:', from: full, to: 'null:', without: 'qemu-img convert' },
      { title: 'From a file to a server that keeps nothing', from: file, to: sink },
      { title: 'From a file to a server with memory', from: file, to: memory }
    ]
    for (const { title, from, to, without } of cells) {
      const contenders = CONTENDERS.filter(({ name }) => name !== without)
      const results = contenders.map(({ name }) => ({ name, samples: [] as Sample[] }))
      for (let round = 0; round <= rounds; round++) {
        for (const [i, { command }] of contenders.entries()) {
          const taken = sample(command(from, to))
          if (round > 0) results[i]!.samples.push(taken)
        }
      }
      print(`${title}, ${size / MiB} MiB`, size, results)
    }
    await sparse(quick, folder, serve)
  } finally {
    for (const child of children.filter(({ exitCode }) => exitCode === null)) {
      child.kill()
      await once(child, 'exit')
    }
    fs.rmSync(folder, { recursive: true, force: true })
  }
  await library(quick)
}

/** What a large copy of nearly nothing takes. */
async function sparse(
  quick: boolean,
  folder: string,
  serve: (name: string, ...args: string[]) => Promise<string>
): Promise<void> {
  const size = (quick ? 1 : 100) * 1024 * MiB
  const file = path.join(folder, 'sparse.img')
  fs.writeFileSync(file, 'x')
  fs.truncateSync(file, size)
  const exported = await serve('sparse', '-r', 'file', file)
  console.log(`\nA sparse file of ${size / MiB / 1024} GiB, to another`)
  for (const [from, title] of [
    [file, 'as a file'],
    [exported, 'from a server']
  ] as const) {
    const { ms, memory } = sample([process.execPath, MQNBD, 'copy', from, path.join(folder, 'copy.img')])
    console.log(`  ${title.padEnd(18)} ${ms.toFixed(0)} ms, ${memory.toFixed(0)} MiB of memory`)
  }
}
