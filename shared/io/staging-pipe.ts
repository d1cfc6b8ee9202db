/**
 * Pipes that hold pages of files on their way to a socket: what is in one can be sent, whatever becomes of the file
 * meanwhile, and is not copied. Those that are not in use wait a moment for the next who needs one.
 *
 * @context each thread has its own
 */
import { atThreadEnd, keepsThreadEnds } from '../aio/thread-end.ts'
import { closeFd, setPipeSize } from '../syscall/fd.ts'
import { EAGAIN, EINVAL, EOVERFLOW } from '../syscall/libc.ts'
import { createPipe } from '../syscall/pipe.ts'
import { spliceFile } from '../syscall/splice.ts'

const PAGE_SIZE = 4096
/** As much as the system grants everybody. */
const PIPE_SIZE = 1024 * 1024
/** Of one thread: the system grants a user 64 of that size. */
const MAX_PIPES = 32
/** How long one that is not in use is kept, at the least, in ms. */
const KEPT_MS = 1000

/** Reading has failed; reading the same by other means tells why. */
export const UNREADABLE = -1

const all = new Set<StagingPipe>()
const unused: StagingPipe[] = []
/** Those of `unused` that nobody has needed since the last look; the first of them. */
let idle = 0
let looking: NodeJS.Timeout | undefined
let endsWithThread = false

export class StagingPipe {
  readonly readFd: number
  readonly #writeFd: number
  /** A pipe holds so many pages, however little of each is used. */
  readonly #pages: number
  #usedPages = 0
  /** What is in it. */
  #bytes = 0

  /** @returns one to `give` when it is empty again, or else to `close`; undefined when there are enough of them */
  static take(): StagingPipe | undefined {
    const pipe = unused.pop()
    idle = Math.min(idle, unused.length)
    if (pipe || all.size === MAX_PIPES || !keepsThreadEnds()) return pipe
    try {
      return new StagingPipe()
    } catch {
      // There are too many descriptors, and other ways to send a file.
      return undefined
    }
  }

  private constructor() {
    const { readFd, writeFd } = createPipe()
    this.readFd = readFd
    this.#writeFd = writeFd
    this.#pages = setPipeSize(writeFd, PIPE_SIZE) / PAGE_SIZE
    if (!endsWithThread) atThreadEnd(closeAll)
    endsWithThread = true
    all.add(this)
  }

  get isEmpty(): boolean {
    return this.#bytes === 0
  }

  /** Whether a part of a file fits. */
  hasRoom(offset: number, length: number): boolean {
    return this.#usedPages + pagesOf(offset, length) <= this.#pages
  }

  /**
   * Takes a part of a file; waits for what is not in the page cache.
   *
   * @returns bytes: fewer when the file ends before, or the pipe is full, none when it is of a kind that cannot be taken; or
   *   UNREADABLE
   */
  stage(file: number, offset: number, length: number): number {
    const n = spliceFile(file, offset, this.#writeFd, length)
    if (n === -EINVAL || n === -EOVERFLOW || n === -EAGAIN) return 0
    if (n < 0) return UNREADABLE
    this.#bytes += n
    this.#usedPages += pagesOf(offset, n)
    return n
  }

  /** So many bytes have been taken out. */
  taken(bytes: number): void {
    this.#bytes -= bytes
    if (this.#bytes === 0) this.#usedPages = 0
  }

  /** Back to the thread; it must be empty. */
  give(): void {
    unused.push(this)
    looking ??= setTimeout(look, KEPT_MS).unref()
  }

  /** Drops what is in it; once more, does nothing: the descriptors may be another's. */
  close(): void {
    if (!all.delete(this)) return
    closeFd(this.readFd)
    closeFd(this.#writeFd)
  }
}

/** Closes those that nobody has needed since the last look. */
function look(): void {
  for (const pipe of unused.splice(0, idle)) pipe.close()
  idle = unused.length
  looking = idle > 0 ? setTimeout(look, KEPT_MS).unref() : undefined
}

function closeAll(): void {
  clearTimeout(looking)
  for (const pipe of all) pipe.close()
  unused.length = 0
}

const pagesOf = (offset: number, length: number): number =>
  Math.ceil((offset + length) / PAGE_SIZE) - Math.floor(offset / PAGE_SIZE)
