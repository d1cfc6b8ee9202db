/**
 * Copying: several lanes, each of which takes the next piece, reads it and writes it, until there are no more.
 *
 * @context the thread that opened source and destination
 */
import { NBDError } from '../../shared/errors/nbd-error.ts'
import { Memory } from '../../shared/syscall/memory.ts'
import type { NBDExtent } from '../transmission/block-status.ts'
import { CachedData } from './cached-data.ts'
import type { Destination, PageCache, Source, StreamSource } from './endpoint.ts'
import { MIN_SENT_SIZE, ZERO_SIZE } from './limits.ts'
import { alignedStretches, PieceQueue, type Piece } from './pieces.ts'
import { Turns } from './turns.ts'
import { zeroRuns } from './zeroes.ts'

export interface CopyOptions {
  /** Bytes of one request, a power of two. */
  requestSize: number
  /** Requests in flight. */
  lanes: number
  /** Blocks of zeroes of this size are looked for in what is read; 0: none are. */
  sparse: number
  /** Zeroes take up room. */
  allocated: boolean
  /** Zeroes need not be written at all. */
  destinationIsZero: boolean
  /** The source is asked where it has holes. */
  extents: boolean
  /** Told how many more bytes are done. */
  onProgress: (bytes: number) => void
}

/**
 * Copies all of a source. The destination has been prepared, and is as large.
 *
 * When it fails, nothing more is begun, but what was begun may still go on.
 *
 * @returns bytes
 * @throws NBDError, the first
 */
export async function copy(
  source: Source | StreamSource,
  destination: Destination,
  options: CopyOptions
): Promise<number> {
  const work = new Copy(source, destination, options)
  const { lanes } = options
  await Promise.all(Array.from({ length: lanes }, (_, lane) => work.lane(lane)))
  return work.copied
}

/** If it is data, they have been read, or can be sent without that. */
interface Taken extends Piece {
  /** What it consists of, when it need not be read. */
  cached?: readonly Piece[]
  /** They are nowhere, and the destination does not want them. */
  dropped?: true
}

/** The next piece. @param memory where to read it to */
type Take = (memory: () => Memory, lane: number) => Promise<Taken | undefined>

class Copy {
  copied = 0
  readonly #destination: Destination
  readonly #options: CopyOptions
  readonly #sparse: number
  readonly #skipsZeroes: boolean
  readonly #take: Take
  /** Of the source, when the destination takes data from there. */
  #cache: PageCache | undefined
  readonly #writing = new Turns()
  readonly #free: Memory[] = []
  #failed = false

  constructor(source: Source | StreamSource, destination: Destination, options: CopyOptions) {
    const { allocated, destinationIsZero, sparse } = options
    this.#destination = destination
    this.#options = options
    this.#sparse = destination.sparse && !allocated ? sparse : 0
    this.#skipsZeroes = destinationIsZero || (destination.isZero && !allocated)
    this.#take = source.kind === 'stream' ? this.#fromStream(source) : this.#fromSource(source)
  }

  async lane(lane: number): Promise<void> {
    let memory: Memory | undefined
    // Not before there are data: the fewer there are, the sooner each is in the processor's cache again.
    const ownMemory = (): Memory =>
      (memory ??= this.#free.pop() ?? Memory.allocate(this.#options.requestSize))
    try {
      while (!this.#failed) {
        const piece = await this.#take(ownMemory, lane)
        if (!piece) return
        const { offset, length } = piece
        if (this.#destination.sequential) await this.#writing.turn(offset)
        if (piece.zero) await this.#zero(offset, length, lane)
        else if (piece.cached) await this.#send(piece.cached, ownMemory, lane)
        else if (!piece.dropped) await this.#write(offset, length, ownMemory(), lane)
        if (this.#destination.sequential) this.#writing.done(offset + length)
        if (memory) this.#free.push(memory)
        memory = undefined
        this.copied += length
        this.#options.onProgress(length)
      }
    } catch (error) {
      this.#failed = true
      throw error
    }
  }

  #fromSource(source: Source): Take {
    const { size } = source
    const { extents, requestSize } = this.#options
    const align = Math.max(source.minimum, this.#destination.minimum, this.#destination.preferred)
    const stretches = alignedStretches(extents ? source.extents(0, size) : allData(size), size, align)
    const queue = new PieceQueue(stretches, requestSize, ZERO_SIZE)
    this.#cache = this.#destination.writeFile && source.cache
    const data = this.#cache && new CachedData(this.#cache, this.#sparse)
    const drops = this.#destination.drops && source.readAndDrop !== undefined
    return async (memory, lane) => {
      const piece = await queue.take()
      if (!piece || piece.zero) return piece
      const cached = data?.runs(piece)
      if (cached) return { ...piece, cached }
      if (drops) {
        await source.readAndDrop!(piece.offset, piece.length, lane)
        return { ...piece, dropped: true }
      }
      await source.read(piece.offset, piece.length, memory, lane)
      return piece
    }
  }

  #fromStream(source: StreamSource): Take {
    const { requestSize } = this.#options
    const { name, size = Infinity } = this.#destination
    let reading: Promise<unknown> = Promise.resolve()
    let offset = 0
    let ended = false
    const next = async (memory: Memory): Promise<Piece | undefined> => {
      if (ended) return undefined
      const length = await source.next(memory, requestSize)
      ended = length < requestSize
      if (length === 0) return undefined
      if (offset + length > size) {
        const text = `'${source.name}' has more than the ${size} bytes for which there is room in '${name}'`
        throw new NBDError('request', text)
      }
      offset += length
      return { offset: offset - length, length, zero: false }
    }
    // One after the other; what they read is then written side by side.
    return (memory) => {
      const piece = reading.then(() => next(memory()))
      reading = piece.catch(() => (ended = true))
      return piece
    }
  }

  async #write(offset: number, length: number, memory: Memory, lane: number): Promise<void> {
    if (this.#sparse === 0) return this.#destination.write(offset, length, memory, 0, lane)
    for (const { start, end, zero } of zeroRuns(memory.buffer, length, offset, this.#sparse)) {
      if (zero) await this.#zero(offset + start, end - start, lane)
      else await this.#destination.write(offset + start, end - start, memory, start, lane)
    }
  }

  /** Writes what is in the page cache from there. */
  async #send(runs: readonly Piece[], memory: () => Memory, lane: number): Promise<void> {
    const cache = this.#cache!
    for (const { offset, length, zero } of runs) {
      if (zero) await this.#zero(offset, length, lane)
      else if (length < MIN_SENT_SIZE && cache.read(offset, length, memory()))
        await this.#destination.write(offset, length, memory(), 0, lane)
      else await this.#destination.writeFile!(offset, length, cache.fd, lane)
    }
  }

  async #zero(offset: number, length: number, lane: number): Promise<void> {
    if (this.#skipsZeroes) return
    await this.#destination.zero(offset, length, this.#options.allocated, lane)
  }
}

async function* allData(size: number): AsyncGenerator<NBDExtent, void, undefined> {
  if (size > 0) yield { offset: 0, length: size, flags: 0 }
}
