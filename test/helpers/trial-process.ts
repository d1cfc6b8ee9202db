/** A server over a node of the driver `test-trial`, in a process of its own: for its memory, its log and its end. */
import * as fs from 'node:fs'
import * as path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import type { ServerCounters } from '../../server/nbd-server.ts'
import { setLogLevel } from '../../shared/log/log.ts'
import { Launched } from './launched.ts'
import type { Endpoint } from './raw-stream.ts'
import { tempDir } from './temp-dir.ts'
import { startTrial, type TrialServerOptions } from './trial-server.ts'

const PROGRAM = fileURLToPath(import.meta.url)
const READY = 'ready\n'

export class TrialProcess implements Endpoint {
  readonly process: Launched
  readonly socket: string
  readonly uri: string
  #asked = 0

  private constructor(process: Launched, socket: string) {
    this.process = process
    this.socket = socket
    this.uri = `nbd+unix:///?socket=${socket}`
  }

  /** Ended with the test. */
  static async serve(t: Test, options: TrialServerOptions): Promise<TrialProcess> {
    const folder = tempDir(t)
    const launched = new Launched(t, process.execPath, [PROGRAM, folder, JSON.stringify(options)])
    await launched.output('stdout', new RegExp(`^${READY}`))
    return new TrialProcess(launched, path.join(folder, 's'))
  }

  /** Not at the same time as another call. */
  async counters(): Promise<ServerCounters> {
    const number = this.#asked++
    this.process.child.kill('SIGUSR2')
    const [, text] = await this.process.output('stdout', new RegExp(`^${number} (.*)\n`, 'm'))
    return JSON.parse(text!) as ServerCounters
  }
}

async function run(folder: string, options: TrialServerOptions): Promise<void> {
  setLogLevel('warn')
  const ends: (() => Promise<void>)[] = []
  const { server } = await startTrial({ teardown: (end) => ends.push(end) }, folder, options)
  let asked = 0
  process.on('SIGUSR2', () => {
    const number = asked++
    void server.counters().then((counters) => fs.writeSync(1, `${number} ${JSON.stringify(counters)}\n`))
  })
  process.once('SIGTERM', () => void Promise.all(ends.map((end) => end())).then(() => process.exit(0)))
  fs.writeSync(1, READY)
}

if (process.argv[1] === PROGRAM)
  await run(process.argv[2]!, JSON.parse(process.argv[3]!) as TrialServerOptions)
