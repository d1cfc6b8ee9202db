/**
 * A file as a stream of bytes, from the position of its descriptor on. Regular files never wait; pipes, FIFOs and
 * sockets do, and are channels of their own kind behind the same functions.
 *
 * @see QIOChannelFile in QEMU's io/channel-file.c
 */
import * as fs from 'node:fs'
import * as tty from 'node:tty'
import { promisify } from 'node:util'
import { NBDError } from '../errors/nbd-error.ts'
import { errnoOf, errnoText, reason } from '../errors/system-error.ts'
import { accessMode, closeFd, duplicateFd, setPosition } from '../syscall/fd.ts'
import { readv, writev } from '../syscall/vector-io.ts'
import { QIOChannelPipe } from './channel-pipe.ts'
import { QIOChannelSocket } from './channel-socket.ts'
import { QIOChannel, type IOVec, type QIOChannelFeature } from './channel.ts'
import { QIOChannelReady } from './channel-ready.ts'

const { O_RDONLY, O_WRONLY } = fs.constants

const open = promisify(fs.open)

export class QIOChannelFile extends QIOChannelReady {
  override readonly features: ReadonlySet<QIOChannelFeature> = new Set(['seekable', 'shutdown'])
  readonly #fd: number

  private constructor(fd: number) {
    super()
    this.#fd = fd
  }

  /**
   * Opens a file. For a FIFO this waits, in the thread pool, until its other end is opened.
   *
   * @param flags those of open(2), such as `O_WRONLY | O_CREAT`
   * @param mode rights of a file that is created, less the umask
   * @throws NBDError of kind `transport`
   * @see qio_channel_file_new_path
   */
  static async open(path: string, flags: number, mode = 0o666): Promise<QIOChannel> {
    let fd: number
    try {
      fd = await open(path, flags, mode)
    } catch (error) {
      throw openError(path, error)
    }
    try {
      return QIOChannelFile.fromFd(fd)
    } catch (error) {
      closeFd(fd)
      throw openError(path, error)
    }
  }

  /**
   * Takes over a descriptor of a file, a pipe or a socket, whatever it turns out to be; the channel closes it.
   *
   * @throws NBDError of kind `transport` for a terminal; the descriptor stays the caller's
   * @see qio_channel_new_fd, qio_channel_file_new_fd
   */
  static fromFd(fd: number): QIOChannel {
    const stat = fs.fstatSync(fd)
    if (stat.isFIFO()) return pipeChannel(fd)
    if (stat.isSocket()) return new QIOChannelSocket(fd)
    // Reading a terminal would hold up the thread.
    if (tty.isatty(fd)) throw new NBDError('transport', 'a terminal is not a file')
    return new QIOChannelFile(fd)
  }

  /** Lets the next transfer begin at `offset`, in bytes. @see qio_channel_io_seek */
  seek(offset: number): void {
    this.ends.mayRead()
    try {
      setPosition(this.#fd, offset)
    } catch (error) {
      throw new NBDError('transport', reason(error), { cause: error })
    }
  }

  override readv(iov: readonly IOVec[]): number {
    if (!this.ends.mayRead()) return 0
    const n = readv(this.#fd, iov)
    if (n < 0) throw new NBDError('transport', `reading: ${errnoText(-n)}`, { errno: -n })
    return n
  }

  override writev(iov: readonly IOVec[]): number {
    this.ends.checkWrite()
    const n = writev(this.#fd, iov)
    if (n < 0) throw new NBDError('transport', `writing: ${errnoText(-n)}`, { errno: -n })
    return n
  }

  protected override release(): void {
    closeFd(this.#fd)
  }
}

function pipeChannel(fd: number): QIOChannelPipe {
  const mode = accessMode(fd)
  if (mode === O_RDONLY) return new QIOChannelPipe(fd, undefined)
  if (mode === O_WRONLY) return new QIOChannelPipe(undefined, fd)
  return new QIOChannelPipe(fd, duplicateFd(fd))
}

function openError(path: string, error: unknown): NBDError {
  const errno = errnoOf(error)
  return new NBDError('transport', `${path}: ${reason(error)}`, {
    ...(errno === undefined ? {} : { errno }),
    cause: error
  })
}
