/**
 * What was written to a stream of Node's and is not taken by it yet: bounded, so that a peer who does not read stops the
 * writer.
 *
 * @context the thread that made the stream
 */
import type { Writable } from 'node:stream'
import { iovLength, QIO_CHANNEL_ERR_BLOCK, type IOVec } from './channel.ts'
import { giveMemory, takeMemory } from './memory-pool.ts'

/** Bytes that may wait. */
const MAX_UNSENT = 256 * 1024

/** Memory of at least the size that was asked for. */
interface Piece {
  buffer: Buffer
  done: () => void
}

/** For any stream: it may hand on what it was given, and use it after the write. */
const newPiece = (size: number): Piece => ({ buffer: Buffer.allocUnsafe(size), done: () => undefined })

/** For a stream that has copied, or encrypted, what it was given when the write is done. */
export function pooledPiece(size: number): Piece {
  const memory = takeMemory(size)
  return { buffer: memory.buffer, done: () => giveMemory(memory) }
}

export class WriteAhead {
  readonly #onRoom: () => void
  readonly #take: (size: number) => Piece
  #unsent = 0

  /**
   * @param onRoom called when bytes were taken
   * @param take where bytes are kept for a write, until it is done
   */
  constructor(onRoom: () => void, take: (size: number) => Piece = newPiece) {
    this.#onRoom = onRoom
    this.#take = take
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
    const { buffer, done } = this.#take(length)
    let at = 0
    for (const { memory, start, end } of iov) {
      if (at === length) break
      at += memory.buffer.copy(buffer, at, start, Math.min(end, start + length - at))
    }
    this.#unsent += length
    stream.write(buffer.subarray(0, length), () => {
      this.#unsent -= length
      done()
      this.#onRoom()
    })
    return length
  }
}
