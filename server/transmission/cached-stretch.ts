/**
 * The part of a file that was found in the page cache a moment ago: whoever reads on from where a read has ended is not
 * asked about one by one.
 *
 * @context an IOThread, which has one for all its connections
 */
import { isCached } from '../../shared/syscall/page-cache.ts'

/** How much is asked about at once when reads are sequential: as much as is served until the answer is too old. */
const AHEAD = 1024 * 1024
/** How long an answer counts, in ms. What is dropped from the cache meanwhile costs time, never wrong data. */
const VALID_MS = 2

export class CachedStretch {
  readonly #isCached: typeof isCached
  #fd = -1
  #start = 0
  #end = 0
  #asked = 0
  /** Where the last read has ended. */
  #next = -1

  /** @param ask what the page cache has */
  constructor(ask = isCached) {
    this.#isCached = ask
  }

  /** Whether a range of a file can be read without waiting for the disk, as far as is known. @see isCached */
  has(fd: number, offset: number, length: number): boolean {
    const end = offset + length
    const goesOn = fd === this.#fd && offset === this.#next
    const known = fd === this.#fd && offset >= this.#start && end <= this.#end
    this.#fd = fd
    this.#next = end
    if (known && performance.now() - this.#asked < VALID_MS) return true
    this.#start = this.#end = 0
    if (goesOn && length < AHEAD) {
      if (this.#isCached(fd, offset, AHEAD)) {
        this.#start = offset
        this.#end = offset + AHEAD
        this.#asked = performance.now()
        return true
      }
      // Where the cache ends one read is not asked about twice as often as another.
      this.#next = -1
    }
    return this.#isCached(fd, offset, length)
  }
}
