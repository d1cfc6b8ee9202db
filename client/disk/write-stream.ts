/** Writing to a disk by a stream: of Node's, or of the web's. */
import { Writable } from 'node:stream'
import { SequentialWriter, type WritableDisk, type WriteStreamOptions } from './sequential-writer.ts'

/** What a stream takes before it asks its writer to wait: the next pieces, while those before them are written. */
const HIGH_WATER_MARK = 2 * 1024 * 1024

type Callback = (error?: Error | null) => void

export class DiskWriteStream extends Writable {
  readonly #writer: SequentialWriter

  constructor(disk: WritableDisk, options: WriteStreamOptions = {}) {
    super({ highWaterMark: options.highWaterMark ?? HIGH_WATER_MARK })
    this.#writer = new SequentialWriter(disk, options)
  }

  override _write(chunk: Buffer, _encoding: string, callback: Callback): void {
    this.#writer.write([chunk]).then(() => callback(), callback)
  }

  /** All that came while the last ones were written. */
  override _writev(chunks: { chunk: Buffer }[], callback: Callback): void {
    this.#writer.write(chunks.map(({ chunk }) => chunk)).then(() => callback(), callback)
  }

  override _final(callback: Callback): void {
    this.#writer.finish().then(() => callback(), callback)
  }

  /** Gives up what is in flight: it may have been written, or may yet be. */
  override _destroy(error: Error | null, callback: Callback): void {
    this.#writer.abort()
    callback(error)
  }
}

export function webWritable(
  disk: WritableDisk,
  options: WriteStreamOptions = {}
): WritableStream<Uint8Array> {
  const writer = new SequentialWriter(disk, options)
  const highWaterMark = options.highWaterMark ?? HIGH_WATER_MARK
  return new WritableStream<Uint8Array>(
    {
      write: (chunk) => writer.write([chunk]),
      close: () => writer.finish(),
      // `abort` would be called only when the write in flight has ended.
      start: (controller) => signalOf(controller).addEventListener('abort', () => writer.abort())
    },
    new ByteLengthQueuingStrategy({ highWaterMark })
  )
}

/** Which @types/node does not list. */
const signalOf = (controller: WritableStreamDefaultController): AbortSignal =>
  (controller as unknown as { signal: AbortSignal }).signal
