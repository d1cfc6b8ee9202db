/**
 * A channel that keeps in memory what is written to it: writing appends, reading goes on from an offset of its own.
 * (QEMU's has one offset for both, so that whoever wrote must rewind before reading.)
 *
 * @see QIOChannelBuffer in QEMU's io/channel-buffer.c
 */
import { bugError, NBDError } from '../errors/nbd-error.ts'
import { Memory } from '../syscall/memory.ts'
import { iovLength, type IOVec, type QIOChannelFeature } from './channel.ts'
import { QIOChannelReady } from './channel-ready.ts'

export class QIOChannelBuffer extends QIOChannelReady {
  override readonly features: ReadonlySet<QIOChannelFeature> = new Set(['seekable', 'shutdown'])
  /** Bytes that it may hold. */
  readonly limit: number
  #memory: Memory | undefined
  /** Bytes written. */
  #usage = 0
  /** Of the next byte to read. */
  #offset = 0

  /** @param limit bytes that it may hold; a write beyond them fails */
  constructor(limit: number) {
    super()
    this.limit = limit
  }

  /** All that was written. A view: it holds until the next write. */
  get bytes(): Buffer {
    return this.#memory?.buffer.subarray(0, this.#usage) ?? Buffer.alloc(0)
  }

  /** Lets the next read begin at `offset`. @throws NBDError of kind `bug` beyond the end @see qio_channel_io_seek */
  seek(offset: number): void {
    if (offset < 0 || offset > this.#usage) throw bugError(`seek to ${offset} of ${this.#usage} bytes`)
    this.#offset = offset
  }

  override readv(iov: readonly IOVec[]): number {
    if (!this.ends.mayRead() || !this.#memory) return 0
    const began = this.#offset
    for (const { memory, start, end } of iov) {
      if (this.#offset === this.#usage) break
      const n = Math.min(end - start, this.#usage - this.#offset)
      this.#memory.buffer.copy(memory.buffer, start, this.#offset, this.#offset + n)
      this.#offset += n
    }
    return this.#offset - began
  }

  override writev(iov: readonly IOVec[]): number {
    this.ends.checkWrite()
    const length = iovLength(iov)
    if (length === 0) return 0
    const room = Math.min(length, this.limit - this.#usage)
    if (room === 0) throw new NBDError('transport', `the buffer is full: it holds ${this.limit} bytes`)
    const { buffer } = this.#reserve(this.#usage + room)
    const target = this.#usage + room
    for (const { memory, start, end } of iov) {
      if (this.#usage === target) break
      this.#usage += memory.buffer.copy(
        buffer,
        this.#usage,
        start,
        Math.min(end, start + target - this.#usage)
      )
    }
    return room
  }

  protected override release(): void {
    this.#memory = undefined
    this.#usage = this.#offset = 0
  }

  /** Memory for so many bytes, with what was written before. It doubles, so that each byte is copied a few times only. */
  #reserve(size: number): Memory {
    if (this.#memory && size <= this.#memory.length) return this.#memory
    const grown = Memory.allocate(Math.min(this.limit, Math.max(size, 2 * this.#usage)))
    this.#memory?.buffer.copy(grown.buffer, 0, 0, this.#usage)
    return (this.#memory = grown)
  }
}
