/** struct iovec, and other numbers of 64 bits in memory that system calls read. */
import { Memory } from './memory.ts'

/** 8 base, 8 length. */
const IOVEC_SIZE = 16
const LOW = 0x100000000

/** Bytes `start` to `end` of memory whose first byte is at `address`. */
export interface MemoryPiece {
  readonly memory: { readonly address: number }
  readonly start: number
  readonly end: number
}

/** Words of memory, in the byte order of the machine. A store takes the low 32 bits of any number up to 2^53. */
export const wordsOf = ({ buffer }: Memory): Uint32Array =>
  new Uint32Array(buffer.buffer, buffer.byteOffset, buffer.length / Uint32Array.BYTES_PER_ELEMENT)

/** Stores a number up to 2^53, such as a pointer, in words `at` and `at + 1`. */
export function storeUint64(words: Uint32Array, at: number, value: number): void {
  words[at] = value
  words[at + 1] = value / LOW
}

/** What is stored in words `at` and `at + 1`, if it is no more than 2^53. */
export const loadUint64 = (words: Uint32Array, at: number): number => words[at]! + words[at + 1]! * LOW

/** An array of struct iovec. Calls that take it have copied it when they return. */
export class IovecArray {
  readonly address: number
  readonly #memory: Memory
  readonly #words: Uint32Array

  constructor(size: number) {
    this.#memory = Memory.allocate(size * IOVEC_SIZE)
    this.address = this.#memory.address
    this.#words = wordsOf(this.#memory)
  }

  set(index: number, address: number, length: number): void {
    const at = index * 4
    storeUint64(this.#words, at, address)
    storeUint64(this.#words, at + 2, length)
  }
}
