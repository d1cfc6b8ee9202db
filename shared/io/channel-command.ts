/**
 * A program as a channel: what is written is its standard input, what is read its standard output. Its standard error
 * is ours.
 *
 * @see QIOChannelCommand in QEMU's io/channel-command.c
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { constants } from 'node:fs'
import { NBDError } from '../errors/nbd-error.ts'
import { errnoOf, reason } from '../errors/system-error.ts'
import { closeFd } from '../syscall/fd.ts'
import { createPipe } from '../syscall/pipe.ts'
import { QIOChannelPipe } from './channel-pipe.ts'

const { O_RDONLY, O_WRONLY, O_RDWR } = constants

/** How long a program may take to end when its pipes are closed, and again when it was told to by SIGTERM. */
const END_TIMEOUT_MS = 5000

/** How a program ended: by itself, with a code, or by a signal. */
export interface ExitStatus {
  code: number | null
  signal: NodeJS.Signals | null
}

export class QIOChannelCommand extends QIOChannelPipe {
  readonly pid: number
  /** Resolves when the program has ended, by itself or by `close`. */
  readonly exited: Promise<ExitStatus>
  readonly #child: ChildProcess
  readonly #endTimeoutMs: number
  #closing: Promise<void> | undefined

  private constructor(
    child: ChildProcess,
    ends: { readFd: number | undefined; writeFd: number | undefined },
    endTimeoutMs: number
  ) {
    super(ends.readFd, ends.writeFd)
    this.#child = child
    this.pid = child.pid!
    this.#endTimeoutMs = endTimeoutMs
    this.exited = new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })))
  }

  /**
   * Runs a program.
   *
   * @param argv the program, found by PATH, and its arguments
   * @param flags O_RDONLY: its input is empty; O_WRONLY: its output is dropped; O_RDWR
   * @param endTimeoutMs how long `close` waits for it to end before SIGTERM, and again before SIGKILL
   * @throws NBDError of kind `transport` when it cannot be run
   * @see qio_channel_command_new_spawn
   */
  static async spawn(
    argv: readonly [string, ...string[]],
    flags: number = O_RDWR,
    endTimeoutMs = END_TIMEOUT_MS
  ): Promise<QIOChannelCommand> {
    const [program, ...args] = argv
    const open: number[] = []
    const pipe = (): { readFd: number; writeFd: number } => {
      const ends = createPipe(true)
      open.push(ends.readFd, ends.writeFd)
      return ends
    }
    try {
      const input = flags === O_RDONLY ? undefined : pipe()
      const output = flags === O_WRONLY ? undefined : pipe()
      const stdio = [input?.readFd ?? 'ignore', output?.writeFd ?? 'ignore', 'inherit'] as const
      const child = spawn(program, args, { stdio: [...stdio] })
      await new Promise<void>((resolve, reject) => {
        child.once('spawn', resolve)
        child.once('error', reject)
      })
      const ours = { readFd: output?.readFd, writeFd: input?.writeFd }
      for (const fd of open.splice(0)) if (fd !== ours.readFd && fd !== ours.writeFd) closeFd(fd)
      return new QIOChannelCommand(child, ours, endTimeoutMs)
    } catch (error) {
      for (const fd of open) closeFd(fd)
      const errno = errnoOf(error)
      throw new NBDError('transport', `${program}: ${reason(error)}`, {
        ...(errno === undefined ? {} : { errno }),
        cause: error
      })
    }
  }

  /** Closes the pipes, and waits for the program to end; one that does not is ended. @see qio_channel_command_close */
  override close(): Promise<void> {
    return (this.#closing ??= this.#close())
  }

  async #close(): Promise<void> {
    const closed = super.close()
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      if (await this.#endsInTime()) break
      this.#child.kill(signal)
    }
    await this.exited
    // Nobody is left to read what may still wait for room, unless a child of the program has its end of the pipe.
    this.shutdown('both')
    await closed
  }

  #endsInTime(): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), this.#endTimeoutMs)
      void this.exited.then(() => {
        clearTimeout(timer)
        resolve(true)
      })
    })
  }
}
