/**
 * Any duplex stream of Node's as a channel: of an HTTP Upgrade, of an SSH library, of anything that a program has.
 *
 * Nothing is read ahead but what the stream holds by itself, up to its highWaterMark; so it can be given up with nothing
 * lost.
 *
 * @context the thread that made the stream
 */
import type { Duplex } from 'node:stream'
import { finished } from 'node:stream/promises'
import type { CoroutineFn } from '../coroutine/coroutine.ts'
import { configError, NBDError } from '../errors/nbd-error.ts'
import { errnoOf, reason } from '../errors/system-error.ts'
import { ChannelEnds } from './channel-ends.ts'
import {
  iovLength,
  QIO_CHANNEL_ERR_BLOCK,
  QIOChannel,
  type IOCondition,
  type IOVec,
  type QIOChannelFeature,
  type ShutdownMode
} from './channel.ts'
import { IOWaiters } from './io-waiters.ts'
import { WriteAhead } from './write-ahead.ts'

/** How long `close` lets the peer take what was written, in ms. */
const CLOSE_TIMEOUT_MS = 10_000

export class QIOChannelStream extends QIOChannel {
  override readonly features: ReadonlySet<QIOChannelFeature> = new Set(['shutdown'])
  readonly #stream: Duplex
  readonly #ends = new ChannelEnds()
  readonly #waiters = new IOWaiters()
  readonly #writeAhead = new WriteAhead(() => this.#waiters.wake('out'))
  /** The peer sends nothing more, and all was read. */
  #ended = false
  #error: NBDError | undefined
  #closing: Promise<void> | undefined

  readonly #onReadable = (): void => this.#waiters.wake('in')
  readonly #onEnd = (): void => {
    this.#ended = true
    this.#waiters.wakeAll()
  }
  readonly #onError = (error: Error): void => {
    const errno = errnoOf(error)
    const options = errno === undefined ? { cause: error } : { errno, cause: error }
    this.#error ??= new NBDError('transport', reason(error), options)
    this.#waiters.wakeAll()
  }

  /**
   * Takes over a stream of bytes that nobody else reads or writes; the channel ends and destroys it.
   *
   * @throws NBDError of kind `config` when it is not a stream of bytes, or has ended
   */
  constructor(stream: Duplex) {
    super()
    if (stream.readableObjectMode || stream.writableObjectMode || stream.readableEncoding !== null)
      throw configError('the stream is one of objects or text, and not of bytes')
    if (stream.destroyed || !stream.readable || !stream.writable)
      throw configError('the stream cannot be read and written: it has ended')
    this.#stream = stream
    stream.on('error', this.#onError)
    stream.on('end', this.#onEnd)
    stream.on('close', this.#onEnd)
    stream.on('readable', this.#onReadable)
  }

  /**
   * Gives the stream up without ending it; the channel can only be closed then.
   *
   * @returns the stream: nothing was read from it that `readv` has not returned, and what was written is on its way
   * @throws NBDError of kind `transport` when it has ended
   */
  detach(): Duplex {
    this.#checkWritable()
    const stream = this.#stream
    for (const listener of [this.#onEnd, this.#onReadable, this.#onError])
      for (const event of ['end', 'close', 'readable', 'error']) stream.off(event, listener)
    this.#ends.close()
    this.#closing = Promise.resolve()
    return stream
  }

  override readv(iov: readonly IOVec[]): number {
    if (!this.#ends.mayRead()) return 0
    if (iovLength(iov) === 0) return 0
    let taken = 0
    for (const { memory, start, end } of iov) {
      for (let at = start; at < end;) {
        const available = this.#stream.readableLength
        const piece: unknown = available === 0 ? null : this.#stream.read(Math.min(available, end - at))
        if (!Buffer.isBuffer(piece)) return taken > 0 ? taken : this.#nothing()
        at += piece.copy(memory.buffer, at)
        taken += piece.length
      }
    }
    return taken
  }

  override writev(iov: readonly IOVec[]): number {
    this.#checkWritable()
    return this.#writeAhead.writev(this.#stream, iov)
  }

  override *yield(condition: IOCondition): CoroutineFn {
    if (this.#isReady(condition)) yield* this.#waiters.waitTurn(condition)
    else yield* this.#waiters.wait(condition)
  }

  override wakeRead(): void {
    this.#waiters.wake('in')
  }

  override shutdown(mode: ShutdownMode): void {
    this.#ends.shutdown(mode)
    if (mode === 'write') this.#stream.end()
    if (mode === 'both') this.#stream.destroy()
    this.#waiters.wakeAll()
  }

  override close(): Promise<void> {
    this.#ends.close()
    this.#waiters.wakeAll()
    return (this.#closing ??= this.#close())
  }

  async #close(): Promise<void> {
    const stream = this.#stream
    const timer = setTimeout(() => stream.destroy(), CLOSE_TIMEOUT_MS)
    stream.end()
    // Whatever it ends with: nobody is left who wants to know.
    await finished(stream, { readable: false }).catch(() => undefined)
    clearTimeout(timer)
    stream.destroy()
  }

  /** What there is when nothing can be read: the reason, the end, or nothing yet. */
  #nothing(): number {
    if (this.#error) throw this.#error
    if (this.#ended) return 0
    // Lets the stream bring more, or notice its end.
    this.#stream.read(0)
    return QIO_CHANNEL_ERR_BLOCK
  }

  #isReady(condition: IOCondition): boolean {
    if (this.#error || this.#ended || this.#ends.closed) return true
    return condition === 'in' ? this.#stream.readableLength > 0 : this.#writeAhead.hasRoom
  }

  #checkWritable(): void {
    this.#ends.checkWrite()
    if (this.#stream.errored) this.#onError(this.#stream.errored)
    if (this.#error) throw this.#error
    if (!this.#stream.writable) throw new NBDError('transport', 'the connection is closed')
  }
}
