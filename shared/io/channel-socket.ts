/**
 * A connected stream socket (TCP or Unix) in the loop of the thread that opened it.
 *
 * Every transfer first tries the system call; only when that would have to wait does node:net wait, in this
 * thread's loop, and the coroutine with it. node:net shows readiness by reading, so while it waits it reads into
 * the thread's ReceiveWindow; and it waits for room by writing the next piece.
 *
 * One coroutine may read and one may write at a time.
 *
 * @see QEMU io/channel-socket.c
 */
import * as net from 'node:net'
import { bugError, NBDError } from '../errors/nbd-error.ts'
import { errnoText, reason } from '../errors/system-error.ts'
import { EAGAIN } from '../syscall/libc.ts'
import { Memory } from '../syscall/memory.ts'
import { recv, send, sendfile, sendGather } from '../syscall/socket.ts'
import { receiveWindow, WINDOW_OFFSET, WINDOW_SIZE, type ReceiveWindow } from './receive-window.ts'

/** Result of a transfer that would have to wait. @see QIO_CHANNEL_ERR_BLOCK */
export const QIO_CHANNEL_ERR_BLOCK = -2

/** A coroutine that waits for bytes. */
interface Reader {
  /** Where the bytes are wanted; undefined for the window. */
  target: { memory: Memory; at: number; length: number } | undefined
  resolve(received: number): void
  reject(error: Error): void
}

export class QIOChannelSocket {
  readonly #fd: number
  readonly #socket: net.Socket
  readonly #window: ReceiveWindow = receiveWindow()
  readonly #closed: Promise<void>
  /** Received, and given back or brought while nobody waited: what the next reader gets first. */
  #aside: Buffer | undefined
  /** End of a window that its reader kept while it waits for more. */
  #kept: Buffer | undefined
  #reader: Reader | undefined
  /** Whether node:net reads. */
  #reading = true
  #ended = false
  #error: NBDError | undefined
  /** The last receive filled the window, so there is likely more: worth a system call before waiting. */
  #tryFirst = false

  /**
   * Takes over a connected socket; the channel closes it.
   *
   * @context the thread in whose loop it is to live
   * @param fd a descriptor of this process
   */
  constructor(fd: number) {
    this.#fd = fd
    // @types/node knows `onread` for net.connect only.
    const options: net.SocketConstructorOpts & { onread: net.OnReadOpts } = {
      fd,
      readable: true,
      writable: true,
      allowHalfOpen: true,
      onread: { buffer: this.#window.target, callback: (n) => this.#onRead(n) }
    }
    this.#socket = new net.Socket(options)
    this.#closed = new Promise((resolve) => this.#socket.once('close', () => resolve()))
    this.#socket.on('error', (error) =>
      this.#fail(new NBDError('transport', reason(error), { cause: error }))
    )
    this.#socket.on('end', () => this.#end())
    this.#socket.on('close', () => this.#end())
    this.#socket.setNoDelay(true)
    this.#socket.resume()
  }

  /**
   * Brings more bytes behind those of the thread's window that are not consumed; waits for at least one.
   *
   * The window is the caller's until it next waits for anything. By then it must have consumed it, or give the
   * rest back with `unread`, or call `receive` again.
   *
   * @returns how many bytes came; 0 at the end of the stream. A promise is to be awaited at once, by the caller
   *   itself: what comes between could overwrite the window.
   * @throws NBDError of kind `transport`
   */
  receive(): number | Promise<number> {
    if (this.#aside) return this.#asideIntoWindow(this.#aside)
    if (this.#tryFirst) {
      const n = this.#recvIntoWindow()
      if (n !== QIO_CHANNEL_ERR_BLOCK) return n
    }
    const { memory, start, end } = this.#window
    this.#kept = end > start ? Buffer.from(memory.buffer.subarray(start, end)) : undefined
    this.#window.clear()
    return this.#wait(undefined)
  }

  /** Gives the unconsumed bytes of the thread's window back; the next reader gets them first. */
  unread(): void {
    const { memory, start, end } = this.#window
    if (end > start) {
      const rest = Buffer.from(memory.buffer.subarray(start, end))
      this.#aside = this.#aside ? Buffer.concat([rest, this.#aside]) : rest
    }
    this.#window.clear()
  }

  /**
   * Reads what is there, without waiting.
   *
   * @returns bytes, 0 at the end of the stream, or QIO_CHANNEL_ERR_BLOCK
   * @throws NBDError of kind `transport`
   * @see qio_channel_readv
   */
  readv(memory: Memory, at: number, length: number): number {
    if (this.#aside) {
      const n = Math.min(length, this.#aside.length)
      this.#aside.copy(memory.buffer, at, 0, n)
      this.#aside = n === this.#aside.length ? undefined : this.#aside.subarray(n)
      return n
    }
    return this.#recv(memory.address + at, length)
  }

  /**
   * Reads exactly `length` bytes.
   *
   * @param memory the channel's until the promise settles
   * @returns false at the end of the stream, when that is before the first byte
   * @throws NBDError of kind `transport`
   * @see qio_channel_readv_all_eof
   */
  async readAllEof(memory: Memory, at: number, length: number): Promise<boolean> {
    for (let done = 0; done < length;) {
      let n = this.readv(memory, at + done, length - done)
      if (n === QIO_CHANNEL_ERR_BLOCK) n = await this.#wait({ memory, at: at + done, length: length - done })
      if (n === 0) {
        if (done === 0) return false
        throw new NBDError('transport', `the peer closed the connection after ${done} of ${length} bytes`)
      }
      done += n
    }
    return true
  }

  /** As `readAllEof`, and the end of the stream is an error. @see qio_channel_readv_all */
  async readAll(memory: Memory, at: number, length: number): Promise<void> {
    if (await this.readAllEof(memory, at, length)) return
    throw new NBDError('transport', 'the peer closed the connection')
  }

  /**
   * Sends without waiting.
   *
   * @returns bytes, or QIO_CHANNEL_ERR_BLOCK
   * @throws NBDError of kind `transport`
   */
  send(address: number, length: number, flags = 0): number {
    this.#check()
    return this.#sent(send(this.#fd, address, length, flags))
  }

  /** As `send`, for the `count` pieces that were set with `setGather`. */
  sendGather(count: number, flags = 0): number {
    this.#check()
    return this.#sent(sendGather(this.#fd, count, flags))
  }

  /** As `send`, from a file. 0 means that the file ends before `offset`. */
  sendfile(file: number, offset: number, length: number): number {
    this.#check()
    return this.#sent(sendfile(this.#fd, file, offset, length))
  }

  /**
   * Sends all of it, waiting for room.
   *
   * @param buffer the channel's until the promise settles
   * @throws NBDError of kind `transport`
   * @see qio_channel_writev_all
   */
  async writeAll(buffer: Buffer): Promise<void> {
    this.#check()
    await new Promise<void>((resolve, reject) => {
      this.#socket.write(buffer, (error) => {
        if (error) reject(new NBDError('transport', `sending: ${reason(error)}`, { cause: error }))
        // node:net calls back without an error for a socket that was destroyed meanwhile.
        else if (this.#socket.destroyed)
          reject(new NBDError('transport', 'sending: the connection is closed'))
        else resolve()
      })
    })
  }

  /** Reads and drops `length` bytes. @throws NBDError of kind `transport` */
  async discard(length: number): Promise<void> {
    const scratch = Memory.allocate(Math.min(length, WINDOW_SIZE))
    for (let done = 0; done < length;) {
      const n = Math.min(length - done, scratch.length)
      await this.readAll(scratch, 0, n)
      done += n
    }
  }

  /** Lets the reader, now or the next one, see the end of the stream. @see qio_channel_wake_read */
  endReading(): void {
    this.#end()
  }

  /** Ends both directions at once; a coroutine that waits gets the end of the stream, or an error. Never waits. */
  shutdown(): void {
    this.#socket.destroy()
    this.#end()
  }

  /** Ends the stream towards the peer, behind what was written, and closes. Resolves when the descriptor is closed. */
  async close(): Promise<void> {
    if (!this.#socket.destroyed) this.#socket.end(() => this.#socket.destroy())
    await this.#closed
  }

  #check(): void {
    if (this.#error) throw this.#error
    if (this.#socket.destroyed) throw new NBDError('transport', 'the connection is closed')
  }

  #sent(result: number): number {
    if (result >= 0) return result
    if (result === -EAGAIN) return QIO_CHANNEL_ERR_BLOCK
    throw new NBDError('transport', `sending: ${errnoText(-result)}`, { errno: -result })
  }

  #recv(address: number, length: number): number {
    if (this.#ended && !this.#error) return 0
    this.#check()
    const n = recv(this.#fd, address, length)
    if (n === -EAGAIN) return QIO_CHANNEL_ERR_BLOCK
    if (n < 0) throw new NBDError('transport', `receiving: ${errnoText(-n)}`, { errno: -n })
    if (n === 0) this.#ended = true
    return n
  }

  #recvIntoWindow(): number {
    const window = this.#window
    window.makeRoom()
    const n = this.#recv(window.memory.address + window.end, WINDOW_SIZE)
    this.#tryFirst = n === WINDOW_SIZE
    if (n > 0) window.end += n
    return n
  }

  #asideIntoWindow(aside: Buffer): number {
    this.#aside = undefined
    const window = this.#window
    window.makeRoom()
    const n = aside.copy(window.memory.buffer, window.end, 0, WINDOW_SIZE)
    window.end += n
    if (n < aside.length) this.#aside = aside.subarray(n)
    return n
  }

  /** Waits until bytes have come, to where they are wanted. */
  #wait(target: Reader['target']): number | Promise<number> {
    if (this.#error) throw this.#error
    if (this.#ended) return 0
    if (this.#reader) throw bugError('two coroutines read one channel')
    const received = new Promise<number>((resolve, reject) => {
      this.#reader = { target, resolve, reject }
    })
    if (!this.#reading) {
      this.#reading = true
      this.#socket.resume()
    }
    return received
  }

  /** node:net has read `n` bytes into the window. @returns whether it is to go on */
  #onRead(n: number): boolean {
    const reader = this.#reader
    const bytes = this.#window.target
    if (!reader) {
      const copy = Buffer.from(bytes.subarray(0, n))
      this.#aside = this.#aside ? Buffer.concat([this.#aside, copy]) : copy
      this.#reading = false
      return false
    }
    this.#reader = undefined
    this.#tryFirst = n === WINDOW_SIZE
    if (reader.target) {
      const { memory, at, length } = reader.target
      const taken = bytes.copy(memory.buffer, at, 0, Math.min(n, length))
      if (taken < n) this.#aside = Buffer.from(bytes.subarray(taken, n))
      reader.resolve(taken)
    } else {
      const kept = this.#kept
      this.#kept = undefined
      this.#window.start = WINDOW_OFFSET - (kept?.length ?? 0)
      this.#window.end = WINDOW_OFFSET + n
      kept?.copy(this.#window.memory.buffer, this.#window.start)
      reader.resolve(n)
    }
    return true
  }

  #end(): void {
    this.#ended = true
    const reader = this.#reader
    this.#reader = undefined
    reader?.resolve(0)
  }

  #fail(error: NBDError): void {
    this.#error ??= error
    const reader = this.#reader
    this.#reader = undefined
    reader?.reject(this.#error)
  }
}
