/**
 * How many requests a client has in flight.
 *
 * A Unix socket tells what the client has not read of its replies. Where nothing is told, the thread finds out now and then, by
 * answering nothing for a moment: then all that the client has in flight comes.
 *
 * @context an IOThread
 */
import type { WindowReader } from '../../shared/io/window-reader.ts'
import { sleepNs } from '../../shared/syscall/thread.ts'

/** A client that has fewer may soon wait for us. */
export const LEAST = 4
/** What the kernel counts for a reply beside its data, at the least, in bytes. Of replies with less data it tells nothing. */
const OVERHEAD = 512
/** It holds for so many batches that it is much, and for so many that it is less than that. */
const KNOWN = 1024
const KNOWN_LITTLE_TOLD = 8
const KNOWN_LITTLE = 4096
/** Finding out: how long nothing is answered, how often nothing must come then, and how often there is a look at the most. */
const LOOK_NS = 50_000
const IN_VAIN = 2
const MAX_LOOKS = 20

export class ClientDepth {
  readonly #reader: WindowReader
  #depth = 0
  /** Batches for which it holds. */
  #known = 0

  constructor(reader: WindowReader) {
    this.#reader = reader
  }

  /** Behind each batch, once. @returns whether the client is known to have few in flight */
  isLittle(): boolean {
    return this.#known-- > 0 && this.#depth < LEAST
  }

  /**
   * Called when `isLittle` is not.
   *
   * @param requestSize of one request of its kind, with a payload @param replySize of one reply, both in bytes
   * @returns how many; 'found' when finding out has brought them to the reader's window
   */
  look(requestSize: number, replySize: number): number | 'found' {
    const unread = this.#reader.channel.unreadByPeer()
    if (unread !== undefined) {
      this.#depth = replySize < OVERHEAD ? 0 : unread / (replySize + OVERHEAD)
      this.#known = this.#depth < LEAST ? KNOWN_LITTLE_TOLD : 0
    } else if (this.#known < 0) {
      return this.#findOut(requestSize) ? 'found' : 0
    }
    return this.#depth
  }

  /** It may have changed. */
  forget(): void {
    this.#known = 0
  }

  /** @returns whether anything has come; the end is for whoever waits */
  #findOut(requestSize: number): boolean {
    let inVain = 0
    for (let looks = 0; looks < MAX_LOOKS && inVain < IN_VAIN; looks++) {
      sleepNs(LOOK_NS)
      inVain = this.#reader.receiveNow() > 0 ? 0 : inVain + 1
    }
    this.#depth = this.#reader.window.length / requestSize
    this.#known = this.#depth < LEAST ? KNOWN_LITTLE : KNOWN
    return this.#depth > 0
  }
}
