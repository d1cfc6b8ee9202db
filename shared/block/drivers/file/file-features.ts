/**
 * What has been learned about a file, shared by all threads that use it: what its file system cannot do is
 * tried once, not once per request, and holes are not looked for where there are none.
 */

const NOWAIT_UNSUPPORTED = 0
const PUNCH_HOLE_UNSUPPORTED = 1
const ZERO_RANGE_UNSUPPORTED = 2
const SEEK_UNSUPPORTED = 3
const DISCARD_UNSUPPORTED = 4
const FLUSH_ERRNO = 5
const HOLES = 6
const COUNT = 7

export class FileFeatures {
  /** Postable. */
  readonly words: SharedArrayBuffer
  readonly #view: Int32Array

  constructor(words = new SharedArrayBuffer(COUNT * Int32Array.BYTES_PER_ELEMENT)) {
    this.words = words
    this.#view = new Int32Array(words)
  }

  // Plain loads and stores on the request path: a thread that learns late asks once more, and no harm is done.

  get canNowait(): boolean {
    return this.#view[NOWAIT_UNSUPPORTED] === 0
  }

  get canPunchHole(): boolean {
    return this.#view[PUNCH_HOLE_UNSUPPORTED] === 0
  }

  get canZeroRange(): boolean {
    return this.#view[ZERO_RANGE_UNSUPPORTED] === 0
  }

  get canSeek(): boolean {
    return this.#view[SEEK_UNSUPPORTED] === 0
  }

  get canDiscard(): boolean {
    return this.#view[DISCARD_UNSUPPORTED] === 0
  }

  cannotNowait(): void {
    this.#view[NOWAIT_UNSUPPORTED] = 1
  }

  cannotPunchHole(): void {
    this.#view[PUNCH_HOLE_UNSUPPORTED] = 1
  }

  cannotZeroRange(): void {
    this.#view[ZERO_RANGE_UNSUPPORTED] = 1
  }

  cannotSeek(): void {
    this.#view[SEEK_UNSUPPORTED] = 1
  }

  cannotDiscard(): void {
    this.#view[DISCARD_UNSUPPORTED] = 1
  }

  /** It had holes when it was opened, or was given some since. */
  get mayHaveHoles(): boolean {
    return this.#view[HOLES] === 1
  }

  hasHoles(): void {
    this.#view[HOLES] = 1
  }

  /** errno of the first flush that failed, or 0. @see page_cache_inconsistent in QEMU's block/file-posix.c */
  get flushErrno(): number {
    return Atomics.load(this.#view, FLUSH_ERRNO)
  }

  setFlushErrno(errno: number): void {
    Atomics.compareExchange(this.#view, FLUSH_ERRNO, 0, errno)
  }
}
