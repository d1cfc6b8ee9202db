/**
 * Memory that system calls can be pointed at: a buffer together with its address.
 *
 * The buffer is never one of Node's pooled slices and never a small array inside V8's heap, so its address
 * holds for as long as the Memory is referenced. Whoever hands an address to an asynchronous call keeps the
 * Memory referenced until the call has ended.
 */
import { bugError } from '../errors/nbd-error.ts'
import { declare, viewMemory } from './libc.ts'

// Returns its first argument, as a number: memchr finds the byte that it is told is there.
const memchr = declare('uintptr_t memchr(uint8_t *memory, int byte, size_t length)')

const memcmp = declare('int memcmp(uintptr_t a, uintptr_t b, size_t length)')
const memcpy = declare('uintptr_t memcpy(uintptr_t to, const void *from, size_t length)')
const madvise = declare('int madvise(uintptr_t address, size_t length, int advice)')
const MADV_DONTNEED = 4
const pageSize = declare('int getpagesize()')()

// Below this V8 may keep a typed array's bytes inside its moving heap.
const MIN_SIZE = 4096

/** Whether `Memory.of` takes it. */
export const hasAddress = (buffer: Buffer): boolean => buffer.length >= MIN_SIZE

/** Copies bytes to memory of a C library's that is too short-lived for a view (`Memory.foreign`). @param address with room for them */
export function copyTo(address: number, bytes: Buffer): void {
  memcpy(address, bytes, bytes.length)
}

/** Whether `length` bytes of memory, one at the least, are all zero. */
export const isZero = (address: number, length: number): boolean =>
  // Each byte is the one before it, and the first is zero.
  memcmp(address, zero.address, 1) === 0 && memcmp(address, address + 1, length - 1) === 0

export class Memory {
  readonly buffer: Buffer
  /** Of the first byte. */
  readonly address: number

  private constructor(buffer: Buffer, address: number) {
    this.buffer = buffer
    this.address = address
  }

  get length(): number {
    return this.buffer.length
  }

  /**
   * The contents are not defined.
   *
   * @param size in bytes
   * @param alignment of the address, a power of two
   */
  static allocate(size: number, alignment = 1): Memory {
    const length = Math.max(size, MIN_SIZE)
    const buffer = Buffer.allocUnsafeSlow(length + alignment - 1)
    buffer[0] = 0
    const memory = new Memory(buffer, memchr(buffer, 0, 1))
    return alignment === 1 ? memory : memory.slice(-memory.address & (alignment - 1), length)
  }

  /** Memory of a C library's. Whoever frees it sees to it that nobody touches this any more. */
  static foreign(address: number, length: number): Memory {
    return new Memory(Buffer.from(viewMemory(address, length)), address)
  }

  /**
   * Lets the system have its pages until it is used again; the contents are lost. What is referenced nowhere else stays
   * resident until V8 looks for garbage, which an idle thread does not do.
   *
   * Does nothing unless it is made of whole pages of this machine, which may be larger than 4 KiB: a part of one may be
   * somebody else's.
   *
   * @see madvise(2), MADV_DONTNEED
   */
  release(): void {
    const isWhole = this.address % pageSize === 0 && this.length % pageSize === 0
    if (isWhole) madvise(this.address, this.length, MADV_DONTNEED)
  }

  /** A part of it, which keeps all of it. */
  slice(start: number, length: number): Memory {
    return new Memory(this.buffer.subarray(start, start + length), this.address + start)
  }

  /**
   * The memory of somebody's buffer, without a copy; holds while that is referenced.
   *
   * @param buffer of 4096 bytes or more
   */
  static of(buffer: Buffer): Memory {
    if (!hasAddress(buffer)) throw bugError(`a buffer of ${buffer.length} bytes has no address that holds`)
    return new Memory(buffer, memchr(buffer, buffer[0]!, 1))
  }
}

const zero = Memory.allocate(1)
zero.buffer[0] = 0
