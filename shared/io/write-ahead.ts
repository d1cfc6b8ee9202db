/**
 * What was written to a stream of Node's and is not taken by it yet: bounded, so that a peer who does not read stops the
 * writer.
 *
 * @context the thread that made the stream
 */
import type { Writable } from 'node:stream'
import { iovLength, QIO_CHANNEL_ERR_BLOCK, type IOVec } from './channel.ts'

/** Bytes that may wait. */
const MAX_UNSENT = 256 * 1024

export class WriteAhead {
  readonly #onRoom: () => void
  #unsent = 0

  /** @param onRoom called when bytes were taken */
  constructor(onRoom: () => void) {
    this.#onRoom = onRoom
  }

  get hasRoom(): boolean {
    return this.#unsent < MAX_UNSENT
  }

  /**
   * Writes as much as there is room for, in one piece: records of TLS are the fewer the more is written together.
   *
   * @param iov the caller's again when this returns
   * @returns bytes, or QIO_CHANNEL_ERR_BLOCK
   */
  writev(stream: Writable, iov: readonly IOVec[]): number {
    const wanted = iovLength(iov)
    const length = Math.min(wanted, MAX_UNSENT - this.#unsent)
    if (length <= 0) return wanted === 0 ? 0 : QIO_CHANNEL_ERR_BLOCK
    const copy = Buffer.allocUnsafe(length)
    let at = 0
    for (const { memory, start, end } of iov) {
      if (at === length) break
      at += memory.buffer.copy(copy, at, start, Math.min(end, start + length - at))
    }
    this.#unsent += length
    stream.write(copy, () => {
      this.#unsent -= length
      this.#onRoom()
    })
    return length
  }
}
