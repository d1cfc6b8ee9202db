/**
 * Whether two disks have the same content. What reads as zeroes on both is not read; of the rest several pieces are
 * read at a time.
 *
 * @see img_compare in QEMU's qemu-img.c
 */
import { NBD_STATE_ZERO } from '../../shared/protocol/constants.ts'
import { AlignedReader, extentsOf } from '../copy/aligned-reader.ts'
import type { Source } from '../copy/endpoint.ts'
import { ZERO_SIZE } from '../copy/limits.ts'
import { findNonZero } from '../copy/zeroes.ts'
import { commonStretches, isZero, type Stretch } from './stretches.ts'

/** Read at a time from each. */
const PIECE_SIZE = 1024 * 1024
const LANES = 8

export type Verdict =
  | { kind: 'identical'; sizesDiffer: boolean }
  /** `offset` of the first byte that differs; `beyond` the end of the shorter one, where the other must be zero. */
  | { kind: 'content'; offset: number; beyond: boolean }
  /** Only when strict. */
  | { kind: 'size' }
  | { kind: 'status'; offset: number }

/** Reading failed, or asking for the status. */
export interface CompareFailure {
  kind: 'failure'
  during: 'status' | 'read'
  error: unknown
}

export interface CompareOptions {
  /** Sizes and holes must be the same, too. */
  strict: boolean
  onProgress: (bytes: number) => void
}

/** What ends a comparison, and where: what comes first is told. */
interface Finding {
  at: number
  result: Verdict | CompareFailure
}

/** @returns what was found first, in the order of offsets; failures, too */
export async function compare(
  one: Source,
  other: Source,
  { strict, onProgress }: CompareOptions
): Promise<Verdict | CompareFailure> {
  const sizesDiffer = one.size !== other.size
  if (strict && sizesDiffer) return { kind: 'size' }
  const common = Math.min(one.size, other.size)
  const both = commonStretches(extentsOf(one, 0, common), extentsOf(other, 0, common))
  const finding = await new Comparison([one, other], both, strict, onProgress).run()
  if (finding) return finding.result
  const longer = one.size > other.size ? one : other
  const rest = await new Comparison([longer, undefined], alone(longer, common), false, onProgress).run()
  if (!rest) return { kind: 'identical', sizesDiffer }
  return rest.result.kind === 'content' ? { ...rest.result, beyond: true } : rest.result
}

/** The end of the longer source, beside zeroes. */
async function* alone(source: Source, start: number): AsyncGenerator<Stretch, void, undefined> {
  for await (const { offset, length, flags } of extentsOf(source, start, source.size - start))
    yield { offset, length, flags: [flags, NBD_STATE_ZERO] }
}

class Comparison {
  readonly #sources: readonly [Source, Source | undefined]
  readonly #stretches: AsyncGenerator<Stretch, void, undefined>
  readonly #strict: boolean
  readonly #onProgress: (bytes: number) => void
  #finding: Finding | undefined
  #stretch: Stretch | undefined
  #advancing: Promise<boolean> | undefined
  /** Up to here the status is known. */
  #told = 0

  constructor(
    sources: readonly [Source, Source | undefined],
    stretches: AsyncGenerator<Stretch, void, undefined>,
    strict: boolean,
    onProgress: (bytes: number) => void
  ) {
    this.#sources = sources
    this.#stretches = stretches
    this.#strict = strict
    this.#onProgress = onProgress
  }

  async run(): Promise<Finding | undefined> {
    await Promise.all(Array.from({ length: LANES }, (_, lane) => this.#lane(lane)))
    return this.#finding
  }

  /** Pieces are begun in order: when all that were begun have ended, what was found first is known. */
  async #lane(lane: number): Promise<void> {
    const readers = this.#sources.map((source) => source && new AlignedReader(source, PIECE_SIZE))
    while (!this.#finding) {
      const piece = await this.#take()
      if (!piece) return
      const { offset, length, flags } = piece
      if (!flags.every(isZero)) {
        await this.#compare(piece, readers, lane).catch((error: unknown) =>
          this.#found(offset, { kind: 'failure', during: 'read', error })
        )
      }
      this.#onProgress(length)
    }
  }

  async #compare(
    { offset, length, flags }: Stretch,
    readers: (AlignedReader | undefined)[],
    lane: number
  ): Promise<void> {
    const [one, other] = await Promise.all(
      readers.map(async (reader, i) => (isZero(flags[i]!) ? undefined : reader!.read(offset, length, lane)))
    )
    const differs = one && other ? firstDifference(one, other, length) : findNonZero((one ?? other)!, length)
    if (differs >= 0)
      this.#found(offset + differs, { kind: 'content', offset: offset + differs, beyond: false })
  }

  #found(at: number, result: Finding['result']): void {
    if (!this.#finding || at < this.#finding.at) this.#finding = { at, result }
  }

  /** The next piece; a long stretch gives several. @returns undefined when there are no more, or something was found */
  async #take(): Promise<Stretch | undefined> {
    while (!this.#stretch) {
      if (this.#finding || !(await (this.#advancing ??= this.#advance()))) return undefined
    }
    const { offset, length, flags } = this.#stretch
    const most = flags.every(isZero) ? ZERO_SIZE : PIECE_SIZE
    const size = Math.min(length, most - (offset % most))
    this.#stretch = size < length ? { offset: offset + size, length: length - size, flags } : undefined
    return { offset, length: size, flags }
  }

  /** @returns false when there are no more: all who ask again are told the same */
  async #advance(): Promise<boolean> {
    try {
      const { done, value } = await this.#stretches.next()
      if (done) return false
      const { offset, length, flags } = value
      this.#told = offset + length
      if (this.#strict && flags[0] !== flags[1]) {
        this.#found(offset, { kind: 'status', offset })
        return false
      }
      this.#stretch = value
      this.#advancing = undefined
      return true
    } catch (error) {
      this.#found(this.#told, { kind: 'failure', during: 'status', error })
      return false
    }
  }
}

/** @returns the position of the first byte that differs, or -1 */
function firstDifference(a: Buffer, b: Buffer, length: number): number {
  if (a.compare(b, 0, length, 0, length) === 0) return -1
  let at = 0
  // By halves, so that it is found by comparing, and not byte by byte.
  for (let size = length; size > 1;) {
    const half = size >>> 1
    if (a.compare(b, at, at + half, at, at + half) === 0) {
      at += half
      size -= half
    } else {
      size = half
    }
  }
  return at
}
