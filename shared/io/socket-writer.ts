/**
 * The way out of a connected socket.
 *
 * node:net shows room by writing. So a `writev` that finds none hands one piece to node:net and counts it as written;
 * until that has gone out, nothing else can be sent.
 *
 * @context the thread in whose loop the socket is
 */
import * as fs from 'node:fs'
import type * as net from 'node:net'
import { Coroutine, type CoroutineFn } from '../coroutine/coroutine.ts'
import { bugError, NBDError } from '../errors/nbd-error.ts'
import { reason } from '../errors/system-error.ts'
import { sendWithFds } from '../syscall/fd-pass.ts'
import { preadSync } from '../syscall/file-io.ts'
import { EAGAIN, EINVAL, EOVERFLOW } from '../syscall/libc.ts'
import {
  MAX_GATHER,
  MSG_MORE,
  send,
  sendfile,
  sendGather,
  setGather,
  shutdownSocket
} from '../syscall/socket.ts'
import { splice } from '../syscall/splice.ts'
import { QIO_CHANNEL_ERR_BLOCK, type IOVec } from './channel.ts'
import { giveMemory, takeMemory } from './memory-pool.ts'
import { closedError, transportError } from './transport-errors.ts'

/** What is handed to node:net to wait for room with: it is copied, and what follows it is not. */
export const WAIT_PIECE = 512

/** What is read at a time of a file that sendfile does not take. */
const READ_PIECE = 256 * 1024

/** What becomes of the piece that node:net has. */
export interface PieceEvents {
  /** It could not be sent: the socket is of no use any more. */
  failed(error: NBDError): void
  /** It is gone, in one way or the other. */
  done(): void
}

export class SocketWriter {
  readonly #fd: number
  readonly #socket: net.Socket
  readonly #events: PieceEvents
  #waiting: Coroutine<unknown> | undefined
  /** node:net has a piece that is not yet sent. */
  #sending = false
  /** The stream ends behind that piece. */
  #endsWhenSent = false
  #closed = false
  /** Why nothing can be written any more. */
  #error: NBDError | undefined

  /** @param socket of `fd` */
  constructor(fd: number, socket: net.Socket, events: PieceEvents) {
    this.#fd = fd
    this.#socket = socket
    this.#events = events
  }

  /** Whether what was taken last is still on its way, whatever has become of the socket. */
  get hasPiece(): boolean {
    return this.#sending
  }

  /** As `hasPiece`, but not when nothing can be sent at all. */
  get sending(): boolean {
    return this.#sending && !this.#error && !this.#closed
  }

  /** @throws NBDError of kind `transport` when it is closed */
  checkOpen(): void {
    if (this.#closed) throw closedError()
    if (this.#socket.destroyed) throw new NBDError('transport', 'the connection is closed')
  }

  /** @throws NBDError of kind `transport` when nothing can be written any more */
  check(): void {
    this.checkOpen()
    if (this.#error) throw this.#error
  }

  /** @returns bytes, or QIO_CHANNEL_ERR_BLOCK @throws NBDError of kind `transport` */
  writev(iov: readonly IOVec[], more: boolean): number {
    this.check()
    if (this.#sending) return QIO_CHANNEL_ERR_BLOCK
    const flags = more ? MSG_MORE : 0
    let result: number
    if (iov.length === 1) {
      const { memory, start, end } = iov[0]!
      result = send(this.#fd, memory.address + start, end - start, flags)
    } else {
      const count = Math.min(iov.length, MAX_GATHER)
      for (let i = 0; i < count; i++) {
        const { memory, start, end } = iov[i]!
        setGather(i, memory.address + start, end - start)
      }
      result = sendGather(this.#fd, count, count < iov.length ? MSG_MORE : flags)
    }
    if (result >= 0) return result
    if (result !== -EAGAIN) throw transportError('sending', -result)
    return this.#sendLater(iov)
  }

  /** @see QIOChannelSocket.sendfile */
  sendfile(file: number, offset: number, length: number): number {
    this.check()
    if (this.#sending) return QIO_CHANNEL_ERR_BLOCK
    const n = sendfile(this.#fd, file, offset, length)
    if (n >= 0) return n
    if (n === -EAGAIN) return this.#sendRead(file, offset, Math.min(length, WAIT_PIECE))
    // Some file systems can be read from only, or only so far by sendfile.
    if (n === -EINVAL || n === -EOVERFLOW) return this.#sendRead(file, offset, Math.min(length, READ_PIECE))
    throw transportError('sending', -n)
  }

  /** @see QIOChannelSocket.splice */
  splice(pipe: number, length: number): number {
    this.check()
    if (this.#sending) return QIO_CHANNEL_ERR_BLOCK
    const n = splice(pipe, this.#fd, length)
    if (n >= 0) return n
    if (n !== -EAGAIN) throw transportError('sending', -n)
    const piece = Buffer.allocUnsafe(Math.min(length, WAIT_PIECE))
    // It goes to node:net as a whole, also when there is room again: it is nowhere else any more.
    return this.#handOver(piece.subarray(0, fs.readSync(pipe, piece)))
  }

  /** @see QIOChannelSocket.writevFds */
  writevFds({ memory, start, end }: IOVec, fds: readonly number[]): number {
    this.check()
    if (this.#sending) return QIO_CHANNEL_ERR_BLOCK
    return sentOrBlocked(sendWithFds(this.#fd, memory.address + start, end - start, fds))
  }

  /** Waits for room, or for the end. @throws NBDError of kind `bug` when another waits */
  *yield(co: Coroutine<unknown>): CoroutineFn {
    if (this.#waiting) throw bugError('two coroutines write one channel')
    if (!this.sending) return
    this.#waiting = co
    while (this.#waiting === co) yield* Coroutine.yield()
  }

  /** Ends the stream behind the piece that node:net has. @returns whether there is one */
  endBehindPiece(): boolean {
    if (this.#sending) this.#endsWhenSent = true
    return this.#sending
  }

  /** From now on writing fails. `wake` is to follow. */
  fail(error: NBDError): void {
    this.#error ??= error
  }

  /** Nobody writes any more; the piece that node:net has still goes out. `wake` is to follow. */
  close(): void {
    this.#closed = true
  }

  /** Lets the coroutine that waits look again. */
  wake(): void {
    const co = this.#waiting
    this.#waiting = undefined
    co?.wake()
  }

  /** As `writev`, of a piece that is read from a file. @returns 0 when it ends before `offset` */
  #sendRead(file: number, offset: number, length: number): number {
    const memory = takeMemory(length)
    try {
      const end = preadSync(file, memory.address, length, offset)
      if (end < 0) throw transportError('reading what is to be sent', -end)
      return end === 0 ? 0 : this.writev([{ memory, start: 0, end }], false)
    } finally {
      giveMemory(memory)
    }
  }

  /** The socket is full: node:net gets the first piece, and says when there is room. */
  #sendLater(iov: readonly IOVec[]): number {
    const piece = Buffer.allocUnsafe(WAIT_PIECE)
    let length = 0
    for (const { memory, start, end } of iov) {
      if (length === WAIT_PIECE) break
      length += memory.buffer.copy(piece, length, start, end)
    }
    return this.#handOver(piece.subarray(0, length))
  }

  /** @param piece node:net's from now on @returns its length */
  #handOver(piece: Buffer): number {
    this.#sending = true
    this.#socket.write(piece, (error) => {
      this.#sending = false
      if (error) {
        const text = `sending: ${reason(error)}`
        this.#events.failed(new NBDError('transport', text, { cause: error }))
      } else if (this.#endsWhenSent) {
        shutdownSocket(this.#fd, 'write')
      }
      this.wake()
      this.#events.done()
    })
    return piece.length
  }
}

/** What a system call has sent, or QIO_CHANNEL_ERR_BLOCK. */
function sentOrBlocked(n: number): number {
  if (n >= 0) return n
  if (n === -EAGAIN) return QIO_CHANNEL_ERR_BLOCK
  throw transportError('sending', -n)
}
