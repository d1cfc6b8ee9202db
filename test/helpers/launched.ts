/** A child process of a test, ended by its own id when the test ends. */
import { spawn, type ChildProcess } from 'node:child_process'
import { findProgram } from './requires.ts'
import type { Scope } from './scope.ts'
import { within } from './wait-for.ts'

// Ends a child with its parent, also when that is killed because it took too long. It has the child's process id.
const setpriv = findProgram('setpriv')
const withParent = setpriv === undefined ? [] : [setpriv, '--pdeathsig', 'KILL', '--']

export interface Exit {
  status: number | null
  signal: NodeJS.Signals | null
}

export class Launched {
  readonly child: ChildProcess
  /** Resolves when the process has ended and all its output is here. */
  readonly exit: Promise<Exit>
  stdout = ''
  stderr = ''
  #listeners = new Set<() => void>()

  /**
   * @param fds that it has from 3 on; they stay the caller's
   * @param stdin 'pipe' for one that the test writes to, by `child.stdin`
   */
  constructor(
    t: Scope,
    command: string,
    args: string[],
    env: Record<string, string> = {},
    fds: readonly number[] = [],
    stdin: 'ignore' | 'pipe' = 'ignore'
  ) {
    const [program, ...rest] = [...withParent, command, ...args]
    const stdio = [stdin, 'pipe', 'pipe', ...fds] as const
    this.child = spawn(program!, rest, { stdio: [...stdio], env: { ...process.env, ...env } })
    this.child.stdout!.setEncoding('utf8').on('data', (text: string) => this.#add('stdout', text))
    this.child.stderr!.setEncoding('utf8').on('data', (text: string) => this.#add('stderr', text))
    this.exit = new Promise((resolve, reject) => {
      this.child.once('error', reject)
      this.child.once('close', (status, signal) => {
        resolve({ status, signal })
        for (const listener of this.#listeners) listener()
      })
    })
    t.teardown(async () => {
      this.child.kill('SIGKILL')
      await this.exit.catch(() => undefined)
    })
  }

  get pid(): number {
    return this.child.pid!
  }

  get ended(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null
  }

  /** First match in what the process printed; an error with all its output when it ends before. */
  async output(stream: 'stdout' | 'stderr', pattern: RegExp, timeoutMs?: number): Promise<RegExpExecArray> {
    const match = new Promise<RegExpExecArray>((resolve, reject) => {
      const look = (): void => {
        const found = pattern.exec(this[stream])
        if (!found && !this.ended) return
        this.#listeners.delete(look)
        if (found) resolve(found)
        else reject(new Error(`ended without printing ${pattern}: ${this.stdout}${this.stderr}`))
      }
      this.#listeners.add(look)
      look()
    })
    return within(`${pattern} in its ${stream}`, match, timeoutMs)
  }

  /** Sends a signal and waits for the end. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<Exit> {
    this.child.kill(signal)
    return within(`the end by ${signal}`, this.exit)
  }

  #add(stream: 'stdout' | 'stderr', text: string): void {
    this[stream] += text
    for (const listener of this.#listeners) listener()
  }
}

export interface Ran extends Exit {
  stdout: string
  stderr: string
}

/** Runs a program to its end. */
export async function run(t: Scope, command: string, args: string[], timeoutMs = 60_000): Promise<Ran> {
  const launched = new Launched(t, command, args)
  const exit = await within(`${command} ${args.join(' ')}`, launched.exit, timeoutMs)
  return { ...exit, stdout: launched.stdout, stderr: launched.stderr }
}

/** As `run`; a status other than 0 fails the test with all that the program printed. @returns its standard output */
export async function runOk(t: Scope, command: string, args: string[], timeoutMs?: number): Promise<string> {
  const { status, signal, stdout, stderr } = await run(t, command, args, timeoutMs)
  if (status !== 0) {
    throw new Error(`${command} ${args.join(' ')}: ${signal ?? `status ${status}`}\n${stdout}${stderr}`)
  }
  return stdout
}
