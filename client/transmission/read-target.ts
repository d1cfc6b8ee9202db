/** Where the data of a READ go: one buffer, or several in a row. */
import { Memory } from '../../shared/syscall/memory.ts'

/** Less than this is sooner copied from the window, together with the replies behind it, than received on its own. */
export const MIN_DIRECT = 16 * 1024

/** Data that may be received straight to where they belong. */
export interface DirectData {
  /** Undefined when nobody wants them. */
  memory: Memory | undefined
  at: number
  length: number
}

/** Positions count from the first byte of the request. */
export interface ReadTarget {
  /** Copies the bytes from `start` to `end` of `bytes` to the position `at`. */
  write(at: number, bytes: Buffer, start: number, end: number): void
  zero(start: number, end: number): void
  /** Where up to `length` bytes from `at` on can be received in place; undefined when that is not worth it. */
  direct(at: number, length: number): DirectData | undefined
}

/** Nobody wants the data. */
export const DROPPED: ReadTarget = {
  write: () => undefined,
  zero: () => undefined,
  direct: (_at, length) => (length < MIN_DIRECT ? undefined : { memory: undefined, at: 0, length })
}

/** A part of a call's buffers for each request that the call is split into, `start` being relative to the call. */
export type TargetOf = (start: number) => ReadTarget

/**
 * @param buffers one behind the other, the client's until the call has ended
 */
export function readTargets(buffers: readonly Buffer[]): TargetOf {
  const [only] = buffers
  if (buffers.length === 1 && only) {
    const memory = memoryOf(only)
    return (start) => new BufferTarget(only, memory, start)
  }
  const pieces = piecesOf(buffers)
  return (start) => new VectorTarget(pieces, start)
}

/**
 * As `readTargets`, for one buffer that is asked for when the first data for it are there.
 *
 * @param allocate called once at the most
 */
export function lateTargets(allocate: () => Buffer): TargetOf {
  let targetOf: TargetOf | undefined
  return (start) => new LateTarget(() => (targetOf ??= readTargets([allocate()]))(start))
}

/** The same memory with its address, where data can be received in place. */
const memoryOf = (buffer: Buffer): Memory | undefined =>
  buffer.length >= MIN_DIRECT ? Memory.of(buffer) : undefined

/** Also guards the system call: a buffer that its owner has transferred meanwhile has no bytes any more. */
function directAt(memory: Memory | undefined, at: number, length: number): DirectData | undefined {
  if (!memory || length < MIN_DIRECT || at + length > memory.length) return undefined
  return { memory, at, length }
}

export class BufferTarget implements ReadTarget {
  readonly #buffer: Buffer
  readonly #memory: Memory | undefined
  readonly #start: number

  constructor(buffer: Buffer, memory: Memory | undefined, start: number) {
    this.#buffer = buffer
    this.#memory = memory
    this.#start = start
  }

  write(at: number, bytes: Buffer, start: number, end: number): void {
    bytes.copy(this.#buffer, this.#start + at, start, end)
  }

  zero(start: number, end: number): void {
    this.#buffer.fill(0, this.#start + start, this.#start + end)
  }

  direct(at: number, length: number): DirectData | undefined {
    return directAt(this.#memory, this.#start + at, length)
  }
}

class LateTarget implements ReadTarget {
  readonly #make: () => ReadTarget
  #made: ReadTarget | undefined

  constructor(make: () => ReadTarget) {
    this.#make = make
  }

  write(at: number, bytes: Buffer, start: number, end: number): void {
    this.#target.write(at, bytes, start, end)
  }

  zero(start: number, end: number): void {
    this.#target.zero(start, end)
  }

  direct(at: number, length: number): DirectData | undefined {
    return this.#target.direct(at, length)
  }

  get #target(): ReadTarget {
    return (this.#made ??= this.#make())
  }
}

interface Piece {
  buffer: Buffer
  memory: Memory | undefined
  /** Of its first byte, and behind its last, in the call. */
  start: number
  end: number
}

function piecesOf(buffers: readonly Buffer[]): Piece[] {
  let start = 0
  return buffers
    .filter(({ length }) => length > 0)
    .map((buffer) => {
      const piece = { buffer, memory: memoryOf(buffer), start, end: start + buffer.length }
      start = piece.end
      return piece
    })
}

export class VectorTarget implements ReadTarget {
  readonly #pieces: readonly Piece[]
  readonly #start: number

  constructor(pieces: readonly Piece[], start: number) {
    this.#pieces = pieces
    this.#start = start
  }

  write(at: number, bytes: Buffer, start: number, end: number): void {
    this.#each(at, end - start, (buffer, from, to, done) => {
      bytes.copy(buffer, from, start + done, start + done + to - from)
    })
  }

  zero(start: number, end: number): void {
    this.#each(start, end - start, (buffer, from, to) => buffer.fill(0, from, to))
  }

  direct(at: number, length: number): DirectData | undefined {
    const position = this.#start + at
    const piece = this.#pieces[this.#find(position)]!
    return directAt(piece.memory, position - piece.start, Math.min(length, piece.end - position))
  }

  /** @param use called for each piece of the range, with how many bytes came before */
  #each(
    at: number,
    length: number,
    use: (buffer: Buffer, from: number, to: number, done: number) => void
  ): void {
    const position = this.#start + at
    for (let i = this.#find(position), done = 0; done < length; i++) {
      const { buffer, start, end } = this.#pieces[i]!
      const from = position + done - start
      const to = Math.min(end - start, from + length - done)
      use(buffer, from, to, done)
      done += to - from
    }
  }

  /** Number of the piece with this position. */
  #find(position: number): number {
    let low = 0
    let high = this.#pieces.length - 1
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#pieces[middle]!.end <= position) low = middle + 1
      else high = middle
    }
    return low
  }
}
