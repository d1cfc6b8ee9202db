/** mqnbd as a user starts it: the built program, in a process of its own. */
import * as path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { Launched, run, type Ran } from './launched.ts'
import { tempDir } from './temp-dir.ts'

/** The URL of a built module, for programs that a test writes. @param module its path, as `server/index.js` */
export const builtModule = (module: string): string => new URL(`../../${module}`, import.meta.url).href

/** The built program. */
export const MQNBD = fileURLToPath(new URL('../../../bin/mqnbd.cjs', import.meta.url))

/** How long a command may take that is to be refused, or only prints something. */
const SHORT_MS = 30_000

/** Runs `mqnbd ...` to its end, which must come soon. */
export const mqnbd = (t: Test, ...args: string[]): Promise<Ran> =>
  run(t, process.execPath, [MQNBD, ...args], SHORT_MS)

interface ServeOptions {
  once?: boolean
  under?: string[]
}

export class Mqnbd {
  readonly process: Launched
  /** What it printed that it serves at. */
  readonly uri: string
  /** Path of its Unix socket; undefined when it serves on TCP. */
  readonly socket: string | undefined

  private constructor(process: Launched, uri: string, socket: string | undefined) {
    this.process = process
    this.uri = uri
    this.socket = socket
  }

  /**
   * `mqnbd serve ARGS`, ready to serve; ended with the test. Without -k or -p among the arguments, on a Unix socket in
   * a directory of the test's own; persistent unless `once`.
   *
   * @param options.under a command that runs it, such as strace; it must keep the process id, or end with the server
   */
  static async serve(
    t: Test,
    args: string[],
    { once = false, under = [] }: ServeOptions = {}
  ): Promise<Mqnbd> {
    const own = !args.includes('-k') && !args.includes('-p')
    const socket = own ? path.join(tempDir(t), 's') : args[args.indexOf('-k') + 1]
    const where = own ? ['-k', socket!] : []
    const persistent = once ? [] : ['-t']
    const [command, ...rest] = [...under, process.execPath, MQNBD, 'serve', ...args, ...persistent, ...where]
    const launched = new Launched(t, command!, rest)
    const [, uri] = await launched.output('stdout', /^mqnbd: serving .* at (nbd\S+)\n/m)
    return new Mqnbd(launched, uri!, args.includes('-p') ? undefined : socket)
  }
}
