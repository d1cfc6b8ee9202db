/** Sources and destinations in memory, which answer in any order. */
import { NBD_STATE_HOLE, NBD_STATE_ZERO } from '../../../../shared/protocol/constants.ts'
import type { Memory } from '../../../../shared/syscall/memory.ts'
import type { Destination, Source } from '../../../../client/copy/endpoint.ts'
import type { NBDExtent } from '../../../../client/transmission/block-status.ts'

export const DATA = 0
export const HOLE = NBD_STATE_HOLE | NBD_STATE_ZERO

/** Settles some turns of the loop later. */
export async function someTime(): Promise<void> {
  for (let turns = Math.floor(Math.random() * 4); turns > 0; turns--)
    await new Promise((resolve) => setImmediate(resolve))
}

/** Extents from lengths and flags in turn. */
export function extentList(...pieces: number[]): NBDExtent[] {
  const extents: NBDExtent[] = []
  for (let i = 0, offset = 0; i < pieces.length; offset += pieces[i]!, i += 2)
    extents.push({ offset, length: pieces[i]!, flags: pieces[i + 1]! })
  return extents
}

export async function* generate<T>(items: Iterable<T>): AsyncGenerator<T, void, undefined> {
  for (const item of items) {
    await someTime()
    yield item
  }
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}

export class MemorySource implements Source {
  readonly kind = 'random'
  readonly name: string
  readonly minimum: number
  readonly preferred = 4096
  readonly connections = 1
  readonly bytes: Buffer
  /** Offset and length of each. */
  readonly reads: [number, number][] = []
  readonly #extents: NBDExtent[]
  /** Reads from here on fail. */
  failsAt = Infinity
  /** And asking for extents. */
  statusFails = false

  constructor(
    bytes: Buffer,
    { extents = extentList(bytes.length, DATA), minimum = 1, name = 'source' } = {}
  ) {
    this.bytes = bytes
    this.#extents = extents
    this.minimum = minimum
    this.name = name
  }

  get size(): number {
    return this.bytes.length
  }

  async read(offset: number, length: number, memory: () => Memory): Promise<void> {
    this.reads.push([offset, length])
    if (offset % this.minimum !== 0 || length % this.minimum !== 0)
      throw new Error(`unaligned read of ${length} at ${offset}`)
    await someTime()
    if (offset + length > this.failsAt) throw new Error(`read at ${offset}`)
    this.bytes.copy(memory().buffer, 0, offset, offset + length)
  }

  async *extents(offset: number, length: number): AsyncGenerator<NBDExtent, void, undefined> {
    if (this.statusFails) throw new Error('status')
    const end = offset + length
    for (const extent of this.#extents) {
      await someTime()
      const [from, to] = [Math.max(offset, extent.offset), Math.min(end, extent.offset + extent.length)]
      if (to > from) yield { offset: from, length: to - from, flags: extent.flags }
    }
  }

  async close(): Promise<void> {
    // Nothing is open.
  }
}

export class MemoryDestination implements Destination {
  readonly name = 'destination'
  readonly size: number | undefined
  readonly minimum: number
  readonly preferred: number
  readonly connections = 1
  readonly sequential: boolean
  readonly sparse: boolean
  readonly isZero: boolean
  readonly bytes: Buffer
  /** Offset and length of each. */
  readonly writes: [number, number][] = []
  /** With whether room was to be taken. */
  readonly zeroes: [number, number, boolean][] = []
  failsAt = Infinity
  inFlight = 0
  mostInFlight = 0

  constructor(
    bytes: Buffer,
    { sequential = false, sparse = true, isZero = false, minimum = 1, preferred = 4096 } = {}
  ) {
    this.bytes = bytes
    this.size = bytes.length
    this.sequential = sequential
    this.sparse = sparse
    this.isZero = isZero
    this.minimum = minimum
    this.preferred = preferred
  }

  async prepare(): Promise<void> {
    // Is as it is.
  }

  async write(offset: number, length: number, { buffer }: Memory, at: number): Promise<void> {
    this.writes.push([offset, length])
    await this.#work(offset, length)
    buffer.copy(this.bytes, offset, at, at + length)
  }

  async zero(offset: number, length: number, allocate: boolean): Promise<void> {
    this.zeroes.push([offset, length, allocate])
    await this.#work(offset, length)
    this.bytes.fill(0, offset, offset + length)
  }

  async #work(offset: number, length: number): Promise<void> {
    if (offset % this.minimum !== 0 || length % this.minimum !== 0)
      throw new Error(`unaligned ${length} at ${offset}`)
    this.mostInFlight = Math.max(this.mostInFlight, ++this.inFlight)
    await someTime()
    this.inFlight--
    if (offset + length > this.failsAt) throw new Error(`write at ${offset}`)
  }

  async finish(): Promise<void> {
    // Has its size.
  }

  async flush(): Promise<void> {
    // Is memory.
  }

  async close(): Promise<void> {
    // Nothing is open.
  }
}
