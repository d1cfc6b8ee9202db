/**
 * The two ends of pipes, in the loop of the thread that opened them.
 *
 * Every transfer first tries the system call; only when that would have to wait does node:net wait. It shows readiness
 * by reading, so what it reads is kept aside for the next `readv`; and it waits for room by writing, so the first piece
 * that finds none is handed to it.
 */
import * as net from 'node:net'
import { NBDError } from '../errors/nbd-error.ts'
import { errnoText, reason } from '../errors/system-error.ts'
import { EAGAIN } from '../syscall/libc.ts'
import { readv, writev } from '../syscall/vector-io.ts'
import { QIO_CHANNEL_ERR_BLOCK, type IOVec } from './channel.ts'

/** As much as a pipe holds: what node:net may read ahead, and what is handed to it. */
const PIECE_SIZE = 64 * 1024

/** What node:net reads into, for all pipes of the thread; copied before anybody else runs. */
let scratch: Buffer | undefined

/** The end that is read. */
export class PipeReader {
  readonly #fd: number
  readonly #socket: net.Socket
  readonly #closed: Promise<void>
  /** Called when it is worth another try. */
  readonly #onReady: () => void
  #aside: Buffer | undefined
  /** Somebody waits. */
  #armed = false
  #ended = false
  #error: NBDError | undefined

  /** @param fd this object's to close */
  constructor(fd: number, onReady: () => void) {
    this.#fd = fd
    this.#onReady = onReady
    const buffer = (scratch ??= Buffer.allocUnsafeSlow(PIECE_SIZE))
    // @types/node knows `onread` for net.connect only.
    const options: net.SocketConstructorOpts & { onread: net.OnReadOpts } = {
      fd,
      readable: true,
      writable: false,
      onread: { buffer, callback: (n) => this.#onRead(buffer, n) }
    }
    this.#socket = new net.Socket(options)
    this.#closed = new Promise((resolve) => this.#socket.once('close', () => resolve()))
    this.#socket.on('error', (error) => {
      this.#error ??= new NBDError('transport', `reading: ${reason(error)}`, { cause: error })
      this.#onReady()
    })
    this.#socket.on('end', () => this.#end())
    this.#socket.on('close', () => this.#end())
  }

  /** Whether `readv` has something to tell. */
  get ready(): boolean {
    return this.#aside !== undefined || this.#ended || this.#error !== undefined
  }

  /** @returns bytes, 0 at the end of the stream, or QIO_CHANNEL_ERR_BLOCK @throws NBDError of kind `transport` */
  readv(iov: readonly IOVec[]): number {
    if (this.#aside) return this.#takeAside(this.#aside, iov)
    if (this.#error) throw this.#error
    // node:net closes the descriptor by itself at the end of the stream.
    if (this.#ended || this.#socket.destroyed) return 0
    const n = readv(this.#fd, iov)
    if (n === -EAGAIN) return QIO_CHANNEL_ERR_BLOCK
    if (n < 0) throw new NBDError('transport', `reading: ${errnoText(-n)}`, { errno: -n })
    if (n === 0 && iov.some(({ start, end }) => end > start)) this.#ended = true
    return n
  }

  /** Asks for a call of `onReady` when there are bytes, or the stream has ended. */
  arm(): void {
    this.#armed = true
    this.#socket.resume()
  }

  /** Resolves when the descriptor is closed; what was not read is lost. May be called again. */
  close(): Promise<void> {
    this.#socket.destroy()
    return this.#closed
  }

  /** @returns whether node:net is to go on: whoever waited has run, and may wait again */
  #onRead(buffer: Buffer, n: number): boolean {
    this.#armed = false
    const bytes = Buffer.from(buffer.subarray(0, n))
    this.#aside = this.#aside ? Buffer.concat([this.#aside, bytes]) : bytes
    this.#onReady()
    return this.#armed
  }

  #takeAside(aside: Buffer, iov: readonly IOVec[]): number {
    let done = 0
    for (const { memory, start, end } of iov) {
      if (done === aside.length) break
      done += aside.copy(memory.buffer, start, done, done + Math.min(end - start, aside.length - done))
    }
    this.#aside = done === aside.length ? undefined : aside.subarray(done)
    return done
  }

  #end(): void {
    this.#ended = true
    this.#onReady()
  }
}

/** The end that is written. */
export class PipeWriter {
  readonly #fd: number
  readonly #socket: net.Socket
  readonly #closed: Promise<void>
  /** Called when it is worth another try. */
  readonly #onReady: () => void
  /** node:net has a piece that waits for room. */
  #pending = false
  #error: NBDError | undefined

  /** @param fd this object's to close */
  constructor(fd: number, onReady: () => void) {
    this.#fd = fd
    this.#onReady = onReady
    this.#socket = new net.Socket({ fd, readable: false, writable: true })
    this.#closed = new Promise((resolve) => this.#socket.once('close', () => resolve()))
    this.#socket.on('error', (error) => this.#fail(error))
  }

  /** Whether `writev` has room, or something to tell. */
  get ready(): boolean {
    return !this.#pending || this.#error !== undefined
  }

  /**
   * @returns bytes, or QIO_CHANNEL_ERR_BLOCK; of what was taken, the last piece may still be on its way when this
   *   returns, and goes on by itself
   * @throws NBDError of kind `transport`
   */
  writev(iov: readonly IOVec[]): number {
    if (this.#error) throw this.#error
    if (this.#socket.destroyed) throw new NBDError('transport', 'the channel is closed')
    if (this.#pending) return QIO_CHANNEL_ERR_BLOCK
    const n = writev(this.#fd, iov)
    if (n >= 0) return n
    if (n !== -EAGAIN) throw new NBDError('transport', `writing: ${errnoText(-n)}`, { errno: -n })
    return this.#handOver(iov)
  }

  /** Closes behind what was taken. */
  end(): void {
    this.#socket.end()
  }

  /** Closes at once; what waits for room is lost. */
  destroy(): void {
    this.#socket.destroy()
  }

  /** Resolves when the descriptor is closed. */
  get closed(): Promise<void> {
    return this.#closed
  }

  #handOver(iov: readonly IOVec[]): number {
    const pieces: Buffer[] = []
    let length = 0
    for (const { memory, start, end } of iov) {
      if (length === PIECE_SIZE) break
      const n = Math.min(end - start, PIECE_SIZE - length)
      pieces.push(memory.buffer.subarray(start, start + n))
      length += n
    }
    this.#pending = true
    // A copy: the memory is the caller's again.
    this.#socket.write(Buffer.concat(pieces, length), (error) => {
      this.#pending = false
      if (error) this.#fail(error)
      else this.#onReady()
    })
    return length
  }

  #fail(error: Error): void {
    this.#error ??= new NBDError('transport', `writing: ${reason(error)}`, { cause: error })
    this.#onReady()
  }
}
