/**
 * Where a thread receives: one piece of memory for all its sockets.
 *
 * A coroutine that has received owns the bytes until it next waits; what it has not consumed by then goes back to
 * its channel. So an idle connection owns no receive buffer, and a batch of requests is parsed in place.
 */
import { Memory } from '../syscall/memory.ts'

/** Bytes that one receive can bring: what may wait in a Unix socket by default, which is three WRITEs of 64 KiB. */
export const WINDOW_SIZE = 256 * 1024
/** Where a receive by node:net puts them; in front of it is room for what was not consumed before. */
export const WINDOW_OFFSET = WINDOW_SIZE

/** What is received of a message that is likely large: its header, and that of a few small ones if it is not. */
export const BEGINNING = 1024

export class ReceiveWindow {
  readonly memory = Memory.allocate(WINDOW_OFFSET + 2 * WINDOW_SIZE)
  /** First byte not consumed. */
  start = WINDOW_OFFSET
  /** Behind the last byte received. */
  end = WINDOW_OFFSET
  readonly #whole = this.memory.buffer.subarray(WINDOW_OFFSET, WINDOW_OFFSET + WINDOW_SIZE)
  readonly #beginning = this.#whole.subarray(0, BEGINNING)

  get length(): number {
    return this.end - this.start
  }

  /** What node:net reads into. @param most bytes, as far as there is room */
  target(most: number): Buffer {
    if (most >= WINDOW_SIZE) return this.#whole
    return most === BEGINNING ? this.#beginning : this.#whole.subarray(0, most)
  }

  clear(): void {
    this.start = this.end = WINDOW_OFFSET
  }

  /** Moves what is not consumed so that `least` bytes, up to WINDOW_SIZE, fit behind it. */
  makeRoom(least = WINDOW_SIZE): void {
    if (this.end === this.start) {
      this.clear()
    } else if (this.end + least > this.memory.length) {
      this.memory.buffer.copyWithin(0, this.start, this.end)
      this.end -= this.start
      this.start = 0
    }
  }
}

let window: ReceiveWindow | undefined

/** The window of the calling thread. */
export const receiveWindow = (): ReceiveWindow => (window ??= new ReceiveWindow())
