/**
 * Looking at the first bytes of each block of a file in the page cache, without copying the rest.
 *
 * The file is mapped, and the kernel copies from there: where the file has become shorter it says so, while reading the mapping
 * ourselves would end the process (SIGBUS).
 */
import { closeFd } from './fd.ts'
import { IovecArray, wordsOf } from './iovec.ts'
import { declare } from './libc.ts'
import { Memory } from './memory.ts'
import { mmap, munmap } from './mmap.ts'
import { createPipe } from './pipe.ts'

const writev = declare('int64_t writev(int fd, uintptr_t iov, int count)')
const read = declare('int64_t read(int fd, uintptr_t buf, size_t count)')

const PROT_READ = 1
const MAP_PRIVATE = 2
const MAP_FIXED = 0x10
const MAP_ANONYMOUS = 0x20
const MAP_POPULATE = 0x8000

/** Offsets of mappings are multiples of the page size, which is this or less, but for a few machines, where mapping fails. */
export const MIN_SAMPLED_BLOCK = 4096
/** Bytes of each block that are looked at. */
const SAMPLE = 8
/** What is mapped at a time: it counts as memory of this process. */
const WINDOW = 2 * 1024 * 1024

export class BlockSamples {
  readonly block: number
  readonly #count: number
  readonly #window: number
  readonly #pieces: IovecArray
  readonly #pipe: { readFd: number; writeFd: number }
  readonly #samples: Memory
  readonly #words: Uint32Array
  /** A mapping has failed: the window may be somebody else's by now. */
  #lost = false

  /**
   * @param block bytes, a power of two from MIN_SAMPLED_BLOCK to 1 MiB
   * @throws NBDError of kind `request` (EMFILE)
   */
  constructor(block: number) {
    this.block = block
    this.#count = WINDOW / block
    this.#pipe = createPipe()
    // Its place, for what is mapped later.
    this.#window = mmap(0, WINDOW, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    this.#lost = this.#window < 0
    this.#pieces = new IovecArray(this.#count)
    for (let i = 0; i < this.#count; i++) this.#pieces.set(i, this.#window + i * block, SAMPLE)
    this.#samples = Memory.allocate(this.#count * SAMPLE)
    this.#words = wordsOf(this.#samples)
  }

  /**
   * Which blocks begin with zeroes. What is not in the page cache is waited for.
   *
   * @param offset a multiple of the block
   * @param length another
   * @param found is called with the offset of each
   * @returns false when it cannot be told: the file cannot be mapped, or is shorter
   */
  zeroes(fd: number, offset: number, length: number, found: (offset: number) => void): boolean {
    for (let at = offset; at < offset + length; at += WINDOW) {
      const count = Math.min(this.#count, (offset + length - at) / this.block)
      if (!this.#take(fd, at, count)) return false
      for (let i = 0; i < count; i++)
        if ((this.#words[2 * i]! | this.#words[2 * i + 1]!) === 0) found(at + i * this.block)
    }
    return true
  }

  /** Gives everything back, but for a window that was lost. */
  close(): void {
    if (!this.#lost) munmap(this.#window, WINDOW)
    closeFd(this.#pipe.readFd)
    closeFd(this.#pipe.writeFd)
  }

  #take(fd: number, offset: number, count: number): boolean {
    const flags = MAP_PRIVATE | MAP_FIXED | MAP_POPULATE
    this.#lost ||= mmap(this.#window, count * this.block, PROT_READ, flags, fd, offset) < 0
    if (this.#lost) return false
    // What is in a pipe stays less than the 64 KiB that each has room for.
    const written = writev(this.#pipe.writeFd, this.#pieces.address, count)
    const taken = written > 0 ? read(this.#pipe.readFd, this.#samples.address, written) : 0
    return taken === count * SAMPLE
  }
}
