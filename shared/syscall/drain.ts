/**
 * Taking bytes out of a socket that nobody wants: they are not copied here, but pass through a pipe to /dev/null, which
 * frees their pages.
 */
import * as fs from 'node:fs'
import { closeFd, setPipeSize } from './fd.ts'
import { createPipe } from './pipe.ts'
import { splice } from './splice.ts'

/** As much as the system grants everybody. A pipe takes so many pages, however little of each is used. */
const PIPE_SIZE = 1024 * 1024

export class Drain {
  readonly #pipe: { readFd: number; writeFd: number }
  readonly #nowhere: number

  /** @throws NBDError of kind `request` (EMFILE), or what opening throws */
  constructor() {
    this.#nowhere = fs.openSync('/dev/null', 'w')
    try {
      this.#pipe = createPipe()
    } catch (error) {
      closeFd(this.#nowhere)
      throw error
    }
    // Where it stays smaller, it takes more calls.
    setPipeSize(this.#pipe.writeFd, PIPE_SIZE)
  }

  /**
   * Drops what a socket has, up to `length` bytes, without waiting.
   *
   * @returns bytes, 0 at the end of the stream, or the errno as a negative number, -EAGAIN when there are none
   */
  drop(socket: number, length: number): number {
    const n = splice(socket, this.#pipe.writeFd, length)
    for (let left = n; left > 0;) {
      const gone = splice(this.#pipe.readFd, this.#nowhere, left)
      if (gone < 0) return gone
      left -= gone
    }
    return n
  }

  close(): void {
    for (const fd of [this.#pipe.readFd, this.#pipe.writeFd, this.#nowhere]) closeFd(fd)
  }
}
