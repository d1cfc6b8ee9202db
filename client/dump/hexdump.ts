/**
 * A hex dump of a disk, as nbddump prints it: lines that repeat the one before are squeezed into a mark.
 *
 * @see do_dump in libnbd's dump/dump.c
 */
import { AlignedReader, extentsOf } from '../copy/aligned-reader.ts'
import type { Source } from '../copy/endpoint.ts'
import { alignedStretches } from '../copy/pieces.ts'
import type { NBDExtent } from '../transmission/block-status.ts'
import { formatLine, LINE, SQUEEZED } from './line.ts'

/** Read at a time. */
const PIECE_SIZE = 1024 * 1024
/** Text that is handed over at a time. */
const TEXT_SIZE = 64 * 1024

export interface DumpOptions {
  /** Of the first byte. */
  offset: number
  length: number
  /** With colours, and then with marks beyond ASCII. */
  colour: boolean
}

/**
 * What reads as zeroes is not read.
 *
 * @returns pieces of text, whole lines
 * @throws NBDError from the iteration
 */
export async function* hexdump(
  source: Source,
  options: DumpOptions
): AsyncGenerator<string, void, undefined> {
  const { offset: start, length } = options
  const lines = new Lines(source.size, options)
  const reader = new AlignedReader(source, PIECE_SIZE)
  const extents = shifted(extentsOf(source, start, length), start)
  for await (const stretch of alignedStretches(extents, length, LINE)) {
    const offset = start + stretch.offset
    if (stretch.zero) {
      lines.addZeroes(offset, stretch.length)
    } else {
      for (let done = 0; done < stretch.length; done += PIECE_SIZE) {
        const size = Math.min(PIECE_SIZE, stretch.length - done)
        const bytes = await reader.read(offset + done, size)
        for (let at = 0; at < size; at += LINE) {
          lines.add(bytes.subarray(at, Math.min(at + LINE, size)), offset + done + at)
          if (lines.text.length >= TEXT_SIZE) yield lines.take()
        }
      }
    }
  }
  if (lines.text !== '') yield lines.take()
}

/** Extents relative to `start`. */
async function* shifted(
  extents: AsyncIterable<NBDExtent>,
  start: number
): AsyncGenerator<NBDExtent, void, undefined> {
  for await (const { offset, length, flags } of extents) yield { offset: offset - start, length, flags }
}

const ZEROES = Buffer.alloc(LINE)

/** Lines, less those that repeat the one before. */
class Lines {
  text = ''
  readonly #start: number
  readonly #size: number
  readonly #colour: boolean
  readonly #last = Buffer.alloc(LINE)
  #squeezing = false

  /** @param size of the disk: its last line is always printed */
  constructor(size: number, { offset, colour }: Pick<DumpOptions, 'offset' | 'colour'>) {
    this.#size = size
    this.#start = offset
    this.#colour = colour
  }

  /** @returns the text so far, which begins anew */
  take(): string {
    const { text } = this
    this.text = ''
    return text
  }

  /** @param bytes fewer than a line only at the end */
  add(bytes: Buffer, offset: number): void {
    if (this.#repeats(bytes, offset)) {
      if (!this.#squeezing) this.text += `${SQUEEZED[this.#colour ? 1 : 0]}\n`
      this.#squeezing = true
      return
    }
    this.#squeezing = false
    this.#last.fill(0).set(bytes)
    this.text += formatLine(bytes, offset, this.#colour)
  }

  /** As `add` for each line of a stretch of zeroes; only those that may make a difference are looked at. */
  addZeroes(offset: number, length: number): void {
    const end = offset + length
    const last = end - ((length - 1) % LINE) - 1
    for (const at of new Set([offset, offset + LINE, last]))
      if (at < end) this.add(ZEROES.subarray(0, Math.min(LINE, end - at)), at)
  }

  #repeats(bytes: Buffer, offset: number): boolean {
    if (offset === this.#start || offset + LINE >= this.#size) return false
    return this.#last.compare(bytes, 0, bytes.length) === 0 && isZeroFrom(this.#last, bytes.length)
  }
}

/** A line that is not whole counts as filled up with zeroes. */
const isZeroFrom = (line: Buffer, start: number): boolean =>
  line.compare(ZEROES, start, LINE, start, LINE) === 0
