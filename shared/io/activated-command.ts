/**
 * A program that is given a listening Unix socket, by which it serves us: systemd's socket activation, which nbdkit,
 * qemu-nbd, qemu-storage-daemon and others know. Nobody has to wait until it is ready: whoever connects early waits in the
 * socket's queue.
 *
 * @see nbd_connect_systemd_socket_activation(3); sd_listen_fds(3)
 */
import { spawn, type ChildProcess } from 'node:child_process'
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { fileURLToPath } from 'node:url'
import { NBDError } from '../errors/nbd-error.ts'
import { errnoOf, errnoText, reason } from '../errors/system-error.ts'
import type { UnixAddress } from '../protocol/uri.ts'
import { closeFd } from '../syscall/fd.ts'
import { listenUnix } from '../syscall/listen.ts'
import { createPipe } from '../syscall/pipe.ts'
import type { ExitStatus } from './channel-command.ts'

/** How long a program may take to end when it was told to by SIGTERM. */
const END_TIMEOUT_MS = 5000
/** Bytes: the path of a socket has 107 at the most. */
const MAX_TMPDIR = 80
/** Standard error. Standard output goes there, too: what we print ourselves may be data. */
const STDERR = 2
const LAUNCHER = fileURLToPath(new URL('./activated-program.js', import.meta.url))

export class ActivatedCommand {
  /** Where it serves. */
  readonly address: UnixAddress
  /** Resolves when the program has ended, by itself or by `close`. */
  readonly exited: Promise<ExitStatus>
  readonly #child: ChildProcess
  readonly #folder: string

  private constructor(child: ChildProcess, folder: string, address: UnixAddress) {
    this.#child = child
    this.#folder = folder
    this.address = address
    this.exited = new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })))
  }

  get pid(): number {
    return this.#child.pid!
  }

  /**
   * Runs a program.
   *
   * @param argv the program, found by PATH, and its arguments
   * @returns as soon as the program runs; `close` must be called
   * @throws NBDError of kind `transport` when it cannot be run
   */
  static async start(argv: readonly [string, ...string[]]): Promise<ActivatedCommand> {
    const open: number[] = []
    let folder: string | undefined
    let command: ActivatedCommand | undefined
    try {
      // Nobody else may connect there: the folder is ours alone.
      folder = fs.mkdtempSync(path.join(shortTmpdir(), 'mqnbd-'))
      const address = { path: path.join(folder, 'socket') }
      const socket = listenUnix(address.path)
      open.push(socket)
      const failed = createPipe(true)
      open.push(failed.readFd, failed.writeFd)
      const child = spawn(process.execPath, [LAUNCHER, ...argv], {
        stdio: ['ignore', STDERR, STDERR, socket, failed.writeFd]
      })
      await new Promise<void>((resolve, reject) => {
        child.once('spawn', resolve)
        child.once('error', reject)
      })
      command = new ActivatedCommand(child, folder, address)
      // Only the program has them now: when it ends, we shall notice.
      for (const fd of [socket, failed.writeFd]) closeFd(fd)
      open.length = 0
      const errno = Number(await readAll(failed.readFd))
      if (errno === 0) return command
      throw new NBDError('transport', errnoText(errno), { errno })
    } catch (error) {
      for (const fd of open) closeFd(fd)
      await command?.close()
      if (folder !== undefined) fs.rmSync(folder, { recursive: true, force: true })
      const errno = errnoOf(error)
      throw new NBDError('transport', `cannot run '${argv[0]}': ${reason(error)}`, {
        ...(errno === undefined ? {} : { errno }),
        cause: error
      })
    }
  }

  /** Ends the program, and waits until it has ended. May be called again. */
  async close(): Promise<void> {
    this.#child.kill('SIGTERM')
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), END_TIMEOUT_MS)
    await this.exited
    clearTimeout(timer)
    fs.rmSync(this.#folder, { recursive: true, force: true })
  }
}

/** Where the path of a socket is not too long. */
function shortTmpdir(): string {
  const folder = os.tmpdir()
  return Buffer.byteLength(folder) > MAX_TMPDIR ? '/tmp' : folder
}

/** Up to the end of the stream. @param fd closed then */
async function readAll(fd: number): Promise<string> {
  let text = ''
  for await (const piece of fs.createReadStream('', { fd, encoding: 'latin1' })) text += String(piece)
  return text
}
