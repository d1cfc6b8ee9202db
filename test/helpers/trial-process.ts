/** A server over a node of the driver `test-trial`, in a process of its own: for its memory, its log and its end. */
import * as fs from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import type { ServerCounters } from '../../server/nbd-server.ts'
import { setLogLevel } from '../../shared/log/log.ts'
import { Launched } from './launched.ts'
import type { Endpoint } from './raw-stream.ts'
import { tempDir } from './temp-dir.ts'
import { startTrial, type TrialServerOptions } from './trial-server.ts'

const PROGRAM = fileURLToPath(import.meta.url)

export interface TrialProcessOptions extends TrialServerOptions {
  /** `warn` unless it is given. */
  logLevel?: 'info' | 'warn'
}

export class TrialProcess implements Endpoint {
  readonly process: Launched
  readonly socket: string | undefined
  readonly uri: string
  #asked = 0

  private constructor(process: Launched, { socket, uri }: Endpoint) {
    this.process = process
    this.socket = socket
    this.uri = uri
  }

  /** Ended with the test. */
  static async serve(t: Test, options: TrialProcessOptions): Promise<TrialProcess> {
    const launched = new Launched(t, process.execPath, [PROGRAM, tempDir(t), JSON.stringify(options)])
    const [, endpoint] = await launched.output('stdout', /^ready (.*)\n/)
    return new TrialProcess(launched, JSON.parse(endpoint!) as Endpoint)
  }

  /** Not at the same time as another call. */
  async counters(): Promise<ServerCounters> {
    const number = this.#asked++
    this.process.child.kill('SIGUSR2')
    const [, text] = await this.process.output('stdout', new RegExp(`^${number} (.*)\n`, 'm'))
    return JSON.parse(text!) as ServerCounters
  }
}

async function run(folder: string, { logLevel = 'warn', ...options }: TrialProcessOptions): Promise<void> {
  setLogLevel(logLevel)
  const ends: (() => Promise<void>)[] = []
  const { server, socket, uri } = await startTrial({ teardown: (end) => ends.push(end) }, folder, options)
  let asked = 0
  process.on('SIGUSR2', () => {
    const number = asked++
    void server.counters().then((counters) => fs.writeSync(1, `${number} ${JSON.stringify(counters)}\n`))
  })
  process.once('SIGTERM', () => void Promise.all(ends.map((end) => end())).then(() => process.exit(0)))
  fs.writeSync(1, `ready ${JSON.stringify({ socket, uri })}\n`)
}

if (process.argv[1] === PROGRAM)
  await run(process.argv[2]!, JSON.parse(process.argv[3]!) as TrialProcessOptions)
