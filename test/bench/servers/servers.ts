/**
 * `npm run bench -- servers`: mqnbd beside other servers, on the same image, driven by fio and nbdcopy.
 *
 * The servers of a way are started once and take their turns, round after round. A tiny program in C that does only what
 * any server must do stands beside them as the limit.
 */
import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import os from 'node:os'
import * as path from 'node:path'
import { fileURLToPath } from 'node:url'
import { findProgram } from '../../helpers/requires.ts'
import { withScope, type Scope } from '../../helpers/scope.ts'
import { TestCA } from '../../helpers/tls-certs.ts'
import { makeFile } from '../image.ts'
import type { SharedFolder } from '../../helpers/newer-debian.ts'
import { chart } from './chart.ts'
import { CELLS, type Cell, type Way } from './cells.ts'
import { certificatesIn, type Contender, type Site } from './contenders.ts'
import { startServer, type RunningServer } from './start-server.ts'
import { sample, verify, type Sample } from './drivers.ts'
import { parseOptions, USAGE, type Options } from './options.ts'
import { choosePeers, versionOf, type Peers } from './peers.ts'
import { cellText, conditions, markdown, summaryText } from './report.ts'
import { cellResult, means, type CellResult, type Report } from './results.ts'

/** From dist to the sources. */
const LIMIT_SOURCE = fileURLToPath(new URL('../../../../test/bench/servers/limit-server.c', import.meta.url))

/** In the folder that all have. */
const IMAGE = 'disk.img'
const SOURCE = 'source.img'
const HOME = 'home'
const LIMIT = 'limit-server'

const TOOLS = ['fio', 'nbdcopy', 'certtool']
const MiB = 1024 * 1024

export async function servers(args: string[]): Promise<void> {
  const options = optionsOrExit(args)
  if (options === 'list') {
    for (const { name } of CELLS) console.log(name)
    return
  }
  const missing = TOOLS.filter((name) => findProgram(name) === undefined)
  if (missing.length > 0) throw new Error(`bench servers needs ${missing.join(', ')}`)
  try {
    await withScope((scope) => new ServersBench(scope, options).run())
  } catch (error) {
    console.error(`mqnbd bench: ${(error as Error).message.trim()}`)
    process.exitCode = 1
  }
}

/** Rejects on Ctrl-C. */
function interruption(): Promise<never> {
  return new Promise((_, reject) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.once(signal, () => reject(new Error(`ended by ${signal}`)))
    }
  })
}

function optionsOrExit(args: string[]): Options | 'list' {
  try {
    return parseOptions(args)
  } catch (error) {
    console.error(`mqnbd bench: ${(error as Error).message}\n${USAGE}`)
    process.exit(2)
  }
}

class ServersBench {
  readonly #scope: Scope
  readonly #options: Options
  readonly #peers: Peers
  readonly #folder: SharedFolder
  readonly #interrupted = interruption()

  constructor(scope: Scope, options: Options) {
    this.#scope = scope
    this.#options = options
    this.#peers = choosePeers(options.peers)
    this.#folder = this.#peers.folder(scope)
  }

  async run(): Promise<void> {
    const { cells, size, rounds, seconds, warmUp } = this.#options
    const contenders = this.#present(this.#compileLimit())
    makeFile(this.#file(IMAGE), size)
    if (cells.some(({ load }) => load.tool === 'nbdcopy' && load.direction === 'to'))
      makeFile(this.#file(SOURCE), size)
    if (cells.some(({ way }) => way.tls)) {
      const { folder } = TestCA.make(this.#scope).server().client()
      fs.cpSync(folder, certificatesIn(this.#file(HOME)), { recursive: true })
    }
    const report: Report = {
      machine: machine(),
      versions: this.#versions(contenders),
      tools: Object.fromEntries(['fio', 'nbdcopy'].map((name) => [name, versionOf(name)])),
      ...{ rounds, seconds, warmUp, imageMiB: size / MiB, cells: [], means: [] }
    }
    console.log(conditions(report))
    for (const way of new Set(cells.map(({ way }) => way))) {
      // With the servers ends what still talks to them.
      await withScope((scope) =>
        Promise.race([this.#measureWay(scope, way, contenders, report.cells), this.#interrupted])
      )
    }
    report.means = means(report.cells)
    console.log(`\n${summaryText(report)}`)
    this.#write(report)
  }

  /** Adds its results to `results`. */
  async #measureWay(scope: Scope, way: Way, contenders: Contender[], results: CellResult[]): Promise<void> {
    const running = await this.#start(scope, contenders, way)
    for (const cell of this.#options.cells.filter((cell) => cell.way === way)) {
      const result = await this.#measure(cell, running)
      results.push(result)
      console.log(`\n${cellText(result)}`)
    }
  }

  #write(report: Report): void {
    const { json, svg, markdown: md } = this.#options
    if (json !== undefined) fs.writeFileSync(json, `${JSON.stringify(report, undefined, 2)}\n`)
    if (svg !== undefined) fs.writeFileSync(svg, chart(report))
    if (md !== undefined) fs.writeFileSync(md, markdown(report))
  }

  /** Of the folder that all have, as we see it. */
  #file(name: string): string {
    return path.join(this.#folder.outside, name)
  }

  /** @returns whether there is a compiler */
  #compileLimit(): boolean {
    const cc = findProgram('cc')
    if (cc === undefined) return false
    const output = this.#file(LIMIT)
    const { status, stderr } = spawnSync(cc, ['-O2', '-pthread', '-o', output, LIMIT_SOURCE], {
      encoding: 'utf8'
    })
    if (status !== 0) throw new Error(`cc: ${stderr}`)
    return true
  }

  #present(limit: boolean): Contender[] {
    return this.#options.contenders.filter(({ name, kind, program }) => {
      const there = kind === 'limit' ? limit : program === undefined || this.#peers.has(program)
      if (!there) console.log(`${name} is left out: ${program ?? 'cc'} is not installed`)
      return there
    })
  }

  #versions(contenders: Contender[]): Record<string, string> {
    const programs = new Set(contenders.flatMap(({ program }) => program ?? []))
    return Object.fromEntries([...programs].map((name) => [name, versionOf(name, this.#peers)]))
  }

  /** Those that can serve so, after a look at whether they do it right. */
  async #start(scope: Scope, contenders: Contender[], way: Way): Promise<Map<Contender, RunningServer>> {
    const site = (folder: string): Site => ({
      ...{ way, folder },
      limit: path.join(folder, LIMIT),
      image: path.join(folder, IMAGE),
      home: path.join(folder, HOME)
    })
    const sites = { ours: site(this.#folder.outside), theirs: site(this.#folder.inside) }
    const running = new Map<Contender, RunningServer>()
    for (const contender of contenders.filter(({ serves }) => serves(way))) {
      const server = await startServer(scope, contender, this.#peers, sites).catch((error: Error) => {
        console.log(`${contender.name} does not serve ${way.name}: ${error.message.trim()}`)
      })
      if (!server) continue
      await verify(server)
      running.set(contender, server)
    }
    return running
  }

  async #measure(cell: Cell, running: Map<Contender, RunningServer>): Promise<CellResult> {
    const { rounds, warmUp, seconds, size } = this.#options
    const source = this.#file(SOURCE)
    const measured = [...running].map(([contender, server]) => ({
      ...{ contender, server },
      samples: [] as Sample[]
    }))
    for (let round = warmUp > 0 ? -1 : 0; round < rounds; round++) {
      // Each begins as often as the others.
      const from = (round + measured.length) % measured.length
      for (const { server, samples } of [...measured.slice(from), ...measured.slice(0, from)]) {
        const ms = (round < 0 ? warmUp : seconds) * 1000
        const taken = await sample(cell, server, { ms, size, source })
        if (round >= 0) samples.push(taken)
      }
    }
    return cellResult(cell, measured)
  }
}

function machine(): Report['machine'] {
  const cpus = os.cpus()
  return {
    cpu: cpus[0]?.model ?? 'unknown',
    processors: cpus.length,
    memoryGiB: Math.round(os.totalmem() / 1024 ** 3),
    kernel: os.release(),
    node: process.version
  }
}
