/** What a load consists of: which request comes next. Given the same seed, the same requests. */
import { bugError } from '../../shared/errors/nbd-error.ts'

/** fio's words. */
export const LOAD_KINDS = ['read', 'write', 'randread', 'randwrite', 'rw', 'randrw'] as const
export type LoadKind = (typeof LOAD_KINDS)[number]

export type Operation = 'read' | 'write'

export interface LoadShape {
  kind: LoadKind
  /** Percentage of reads, where there are both. */
  mix: number
  /** Bytes of each request. */
  blockSize: number
  /** First byte of the range. */
  offset: number
  /** Bytes of the range: at least one block; what is left behind the last whole one is not used. */
  length: number
  seed: number
}

export const writes = (kind: LoadKind): boolean => kind !== 'read' && kind !== 'randread'

/** The requests of a load, one after the other, from whichever connection they are sent. */
export class Load {
  readonly shape: LoadShape
  readonly #blocks: number
  readonly #isRandom: boolean
  readonly #random: RandomNumbers
  #next = 0

  constructor(shape: LoadShape) {
    this.shape = shape
    this.#blocks = Math.floor(shape.length / shape.blockSize)
    if (this.#blocks < 1) throw bugError('a load without a block')
    this.#isRandom = shape.kind.startsWith('rand')
    this.#random = new RandomNumbers(shape.seed)
  }

  nextOperation(): Operation {
    const { kind, mix } = this.shape
    if (kind === 'rw' || kind === 'randrw') return this.#random.below(100) < mix ? 'read' : 'write'
    return writes(kind) ? 'write' : 'read'
  }

  /** In bytes. In sequence, from the range's end back to its start. */
  nextOffset(): number {
    const block = this.#isRandom ? this.#random.below(this.#blocks) : this.#next++ % this.#blocks
    return this.shape.offset + block * this.shape.blockSize
  }

  /** Bytes to write, which do not compress. */
  fill(buffer: Buffer): void {
    const words = new Uint32Array(buffer.buffer, buffer.byteOffset, Math.floor(buffer.length / 4))
    for (let i = 0; i < words.length; i++) words[i] = this.#random.word()
    for (let i = words.length * 4; i < buffer.length; i++) buffer[i] = this.#random.word()
  }
}

/** xoshiro128** of Blackman and Vigna, seeded by splitmix32: the same everywhere, and fast. */
export class RandomNumbers {
  readonly #state = new Uint32Array(4)

  /** @param seed its last 32 bits count */
  constructor(seed: number) {
    let mixed = seed >>> 0
    for (let i = 0; i < 4; i++) {
      mixed = (mixed + 0x9e3779b9) >>> 0
      let z = mixed ^ (mixed >>> 16)
      z = Math.imul(z, 0x21f0aaad)
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97)
      this.#state[i] = z ^ (z >>> 15)
    }
  }

  /** 32 bits. */
  word(): number {
    const s = this.#state
    const product = Math.imul(s[1]!, 5)
    const result = Math.imul((product << 7) | (product >>> 25), 9) >>> 0
    const shifted = s[1]! << 9
    s[2]! ^= s[0]!
    s[3]! ^= s[1]!
    s[1]! ^= s[2]!
    s[0]! ^= s[3]!
    s[2]! ^= shifted
    s[3] = (s[3]! << 11) | (s[3]! >>> 21)
    return result
  }

  /** A whole number below `bound`, which is at most 2^53; all about equally likely. */
  below(bound: number): number {
    const fraction = (this.word() * 2 ** 21 + (this.word() >>> 11)) / 2 ** 53
    return Math.floor(fraction * bound)
  }
}
