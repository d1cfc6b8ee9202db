/** A range of a disk as a stream: of Node's, or of the web's. */
import { Readable } from 'node:stream'
import {
  BLOCK_SIZE,
  readBlocks,
  type RangeOptions,
  type ReadableDisk,
  type ReadBlocksOptions
} from './read-blocks.ts'

export interface ReadStreamOptions extends RangeOptions {
  /** Bytes in each piece, and how much the stream buffers; 256 KiB if not given. */
  highWaterMark?: number | undefined
}

export class DiskReadStream extends Readable {
  readonly #abort = new AbortController()
  readonly #blocks: AsyncGenerator<Buffer, void, undefined>

  constructor(disk: ReadableDisk, { highWaterMark = BLOCK_SIZE, ...options }: ReadStreamOptions = {}) {
    super({ highWaterMark })
    this.#blocks = readBlocks(disk, untilAborted(options, highWaterMark, this.#abort))
  }

  override _read(): void {
    this.#blocks.next().then(
      ({ done, value }) => this.push(done ? null : value),
      (error: unknown) => this.destroy(error as Error)
    )
  }

  /** Gives up the reads in flight. */
  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    this.#abort.abort()
    this.#blocks.return().then(
      () => callback(error),
      () => callback(error)
    )
  }
}

/** A stream of bytes: pieces are read when they are asked for, and some ahead. */
export function webReadable(
  disk: ReadableDisk,
  { highWaterMark = BLOCK_SIZE, ...options }: ReadStreamOptions = {}
): ReadableStream<Uint8Array> {
  const abort = new AbortController()
  const blocks = readBlocks(disk, untilAborted(options, highWaterMark, abort))
  return new ReadableStream({
    type: 'bytes',
    async pull(controller) {
      const { done, value } = await blocks.next()
      if (!done) {
        controller.enqueue(value)
        return
      }
      controller.close()
      // A reader that brought its own buffer waits for it.
      controller.byobRequest?.respond(0)
    },
    async cancel() {
      abort.abort()
      await blocks.return()
    }
  })
}

/** Ends by the caller's signal, or with the stream. */
const untilAborted = (range: RangeOptions, size: number, own: AbortController): ReadBlocksOptions => ({
  ...range,
  size,
  signal: range.signal ? AbortSignal.any([range.signal, own.signal]) : own.signal
})
