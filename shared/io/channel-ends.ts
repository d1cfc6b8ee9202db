/** What `shutdown` and `close` have left of a channel's two directions. */
import { NBDError } from '../errors/nbd-error.ts'
import type { ShutdownMode } from './channel.ts'
import { closedError } from './transport-errors.ts'

export class ChannelEnds {
  #reads = true
  #writes = true
  #closed = false

  get closed(): boolean {
    return this.#closed
  }

  shutdown(mode: ShutdownMode): void {
    if (mode !== 'write') this.#reads = false
    if (mode !== 'read') this.#writes = false
  }

  close(): void {
    this.#closed = true
  }

  /**
   * @returns false when the reader is to see the end of the stream
   * @throws NBDError of kind `transport` when the channel is closed
   */
  mayRead(): boolean {
    if (this.#closed) throw closedError()
    return this.#reads
  }

  /** @throws NBDError of kind `transport` when nothing can be written any more */
  checkWrite(): void {
    if (this.#closed) throw closedError()
    if (!this.#writes) throw new NBDError('transport', 'the channel is shut down for writing')
  }
}
