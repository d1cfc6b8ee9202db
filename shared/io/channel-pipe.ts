/**
 * A channel over one pipe, or over two that lead to and from the same place.
 *
 * @see QEMU io/channel-file.c, which treats pipes as files
 */
import type { CoroutineFn } from '../coroutine/coroutine.ts'
import { NBDError } from '../errors/nbd-error.ts'
import { ChannelEnds } from './channel-ends.ts'
import {
  QIOChannel,
  type IOCondition,
  type IOVec,
  type QIOChannelFeature,
  type ShutdownMode
} from './channel.ts'
import { IOWaiters } from './io-waiters.ts'
import { PipeReader, PipeWriter } from './pipe-end.ts'

export class QIOChannelPipe extends QIOChannel {
  override readonly features: ReadonlySet<QIOChannelFeature> = new Set(['shutdown'])
  readonly #ends = new ChannelEnds()
  readonly #waiters = new IOWaiters()
  readonly #reader: PipeReader | undefined
  readonly #writer: PipeWriter | undefined

  /**
   * Takes over descriptors of pipes, two different ones; they become non-blocking, for all that share them.
   *
   * @context the thread in whose loop it is to live
   * @param readFd undefined for a channel that is only written
   * @param writeFd undefined for a channel that is only read
   */
  constructor(readFd: number | undefined, writeFd: number | undefined) {
    super()
    if (readFd !== undefined) this.#reader = new PipeReader(readFd, () => this.#waiters.wake('in'))
    if (writeFd !== undefined) this.#writer = new PipeWriter(writeFd, () => this.#waiters.wake('out'))
  }

  override readv(iov: readonly IOVec[]): number {
    if (!this.#ends.mayRead()) return 0
    if (!this.#reader) throw new NBDError('transport', 'the channel is not open for reading')
    return this.#reader.readv(iov)
  }

  /**
   * Of what was taken, the last piece may still wait for room; it goes on by itself. `close` and `shutdown('write')`
   * wait for it, `shutdown('both')` drops it.
   */
  override writev(iov: readonly IOVec[]): number {
    this.#ends.checkWrite()
    if (!this.#writer) throw new NBDError('transport', 'the channel is not open for writing')
    return this.#writer.writev(iov)
  }

  override *yield(condition: IOCondition): CoroutineFn {
    const end = condition === 'in' ? this.#reader : this.#writer
    if (!end || end.ready || this.#ends.closed) return yield* this.#waiters.waitTurn(condition)
    if (condition === 'in') this.#reader!.arm()
    yield* this.#waiters.wait(condition)
  }

  override wakeRead(): void {
    this.#waiters.wake('in')
  }

  /** What is no longer read is closed, so that whoever writes there fails. */
  override shutdown(mode: ShutdownMode): void {
    this.#ends.shutdown(mode)
    if (mode !== 'write') {
      void this.#reader?.close()
      this.#waiters.wake('in')
    }
    if (mode !== 'read') {
      if (mode === 'write') this.#writer?.end()
      else this.#writer?.destroy()
      this.#waiters.wake('out')
    }
  }

  override async close(): Promise<void> {
    this.#ends.close()
    this.#writer?.end()
    this.#waiters.wakeAll()
    await Promise.all([this.#reader?.close(), this.#writer?.closed])
  }
}
