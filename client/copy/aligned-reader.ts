/** Any range of a source, read and asked for in whole blocks of it. */
import { Memory } from '../../shared/syscall/memory.ts'
import type { NBDExtent } from '../transmission/block-status.ts'
import type { Source } from './endpoint.ts'

/** The smallest range of whole blocks around one. */
function widened(
  { minimum, size }: Pick<Source, 'minimum' | 'size'>,
  offset: number,
  length: number
): [offset: number, length: number] {
  const start = offset - (offset % minimum)
  const end = Math.min(size, Math.ceil((offset + length) / minimum) * minimum)
  return [start, end - start]
}

/** As `Source.extents`, for any range. @throws NBDError */
export async function* extentsOf(
  source: Source,
  start: number,
  length: number
): AsyncGenerator<NBDExtent, void, undefined> {
  const end = start + length
  for await (const { offset, length: size, flags } of source.extents(...widened(source, start, length))) {
    const from = Math.max(start, offset)
    const to = Math.min(end, offset + size)
    if (to > from) yield { offset: from, length: to - from, flags }
  }
}

export class AlignedReader {
  readonly #source: Source
  readonly #memory: Memory

  /** @param most bytes that are read at a time */
  constructor(source: Source, most: number) {
    this.#source = source
    this.#memory = Memory.allocate(most + 2 * source.minimum)
  }

  /** @returns the bytes; they are the reader's again with the next call @throws NBDError */
  async read(offset: number, length: number, lane = 0): Promise<Buffer> {
    const [start, size] = widened(this.#source, offset, length)
    await this.#source.read(start, size, () => this.#memory, lane)
    return this.#memory.buffer.subarray(offset - start, offset - start + length)
  }
}
