/**
 * Writing from front to back in pieces of any size: whole blocks are written as they fill up, what is left of one waits
 * for what comes behind it.
 */
import type { BlockSizes } from '../../shared/protocol/messages/export-info.ts'
import type { CallOptions } from '../transmission/cancellation.ts'
import { inParts } from '../transmission/parts.ts'

/** What is longer is written in pieces of this size, several at a time. */
const PIECE_SIZE = 256 * 1024

export interface WriteStreamOptions extends CallOptions {
  /** Where the first byte goes; 0 if not given. */
  start?: number | undefined
  /** Flush at the end, before the stream has finished. */
  flush?: boolean | undefined
  /** Bytes that the stream takes before its writer is to wait; 2 MiB if not given. */
  highWaterMark?: number | undefined
}

/** A disk, as far as it is needed for writing. */
export interface WritableDisk {
  readonly blockSizes: Readonly<BlockSizes>
  write(offset: number, data: Uint8Array, options?: CallOptions): Promise<void>
  flush(options?: CallOptions): Promise<void>
}

export class SequentialWriter {
  readonly #disk: WritableDisk
  readonly #flush: boolean
  readonly #options: CallOptions
  readonly #abort = new AbortController()
  #offset: number
  /** Less than a block. */
  #rest = Buffer.alloc(0)

  constructor(disk: WritableDisk, { start = 0, flush = false, signal, timeoutMs }: WriteStreamOptions) {
    this.#disk = disk
    this.#offset = start
    this.#flush = flush
    const own = this.#abort.signal
    this.#options = { signal: signal ? AbortSignal.any([signal, own]) : own, timeoutMs }
  }

  /**
   * Writes what fills blocks.
   *
   * @param chunks the writer's until the promise settles
   * @throws NBDError; why it was given up
   */
  async write(chunks: readonly Uint8Array[]): Promise<void> {
    const all = this.#rest.length > 0 ? [this.#rest, ...chunks] : chunks
    const bytes = all.length === 1 ? all[0]! : Buffer.concat(all)
    const whole = bytes.length - (bytes.length % this.#disk.blockSizes.minimum)
    await this.#writeOut(bytes.subarray(0, whole))
    this.#rest = Buffer.from(bytes.subarray(whole))
  }

  /** Writes the rest, which may not be a whole block, and flushes if that was asked for. @throws as `write` */
  async finish(): Promise<void> {
    await this.#writeOut(this.#rest)
    if (this.#flush) await this.#disk.flush(this.#options)
  }

  /** Gives up what is in flight. */
  abort(): void {
    this.#abort.abort()
  }

  async #writeOut(bytes: Uint8Array): Promise<void> {
    const offset = this.#offset
    await inParts(bytes.length, PIECE_SIZE, (at, length) =>
      this.#disk.write(offset + at, bytes.subarray(at, at + length), this.#options)
    )
    this.#offset += bytes.length
  }
}
