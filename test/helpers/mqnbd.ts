/** mqnbd as a user starts it: the built program, in a process of its own. */
import * as path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { Launched, run, type Ran } from './launched.ts'

/** The built program. */
export const MQNBD = fileURLToPath(new URL('../../mqnbd.js', import.meta.url))

/** Runs `mqnbd ...` to its end. */
export const mqnbd = (t: Test, ...args: string[]): Promise<Ran> => run(t, process.execPath, [MQNBD, ...args])

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
   */
  static async serve(t: Test, args: string[], { once = false } = {}): Promise<Mqnbd> {
    const own = !args.includes('-k') && !args.includes('-p')
    const socket = own ? path.join(t.testdir({}), 's') : args[args.indexOf('-k') + 1]
    const where = own ? ['-k', socket!] : []
    const persistent = once ? [] : ['-t']
    const launched = new Launched(t, process.execPath, [MQNBD, 'serve', ...args, ...persistent, ...where])
    const [, uri] = await launched.output('stdout', /^mqnbd: serving .* at (nbd\S+)\n/m)
    return new Mqnbd(launched, uri!, args.includes('-p') ? undefined : socket)
  }
}
