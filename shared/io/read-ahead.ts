/**
 * Bytes of a connection that one thread has received and another is to take: they go along with the turn to receive.
 *
 * Whoever has the turn may use it.
 */
import { bugError } from '../errors/nbd-error.ts'
import { WINDOW_SIZE } from './receive-window.ts'

const LENGTH = 0
const HEADER = 4
/** What a thread can have received and not consumed: its whole window, and what its socket put aside. */
const CAPACITY = 4 * WINDOW_SIZE

export class ReadAhead {
  readonly #words: Int32Array
  readonly #bytes: Buffer

  constructor(memory: SharedArrayBuffer) {
    this.#words = new Int32Array(memory, 0, 1)
    this.#bytes = Buffer.from(memory, HEADER, CAPACITY)
  }

  /** @returns postable memory for one connection */
  static allocate(): SharedArrayBuffer {
    return new SharedArrayBuffer(HEADER + CAPACITY)
  }

  put(bytes: Buffer): void {
    if (bytes.length > CAPACITY) throw bugError(`${bytes.length} bytes of read-ahead`)
    bytes.copy(this.#bytes)
    this.#words[LENGTH] = bytes.length
  }

  /** @returns a copy, the caller's */
  take(): Buffer {
    const bytes = Buffer.from(this.#bytes.subarray(0, this.#words[LENGTH]))
    this.#words[LENGTH] = 0
    return bytes
  }
}
