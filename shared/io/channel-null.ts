/**
 * A channel that swallows what is written, and is at its end for whoever reads.
 *
 * @see QIOChannelNull in QEMU's io/channel-null.c
 */
import type { CoroutineFn } from '../coroutine/coroutine.ts'
import { ChannelEnds } from './channel-ends.ts'
import {
  iovLength,
  QIOChannel,
  type IOCondition,
  type IOVec,
  type QIOChannelFeature,
  type ShutdownMode
} from './channel.ts'
import { IOWaiters } from './io-waiters.ts'

export class QIOChannelNull extends QIOChannel {
  override readonly features: ReadonlySet<QIOChannelFeature> = new Set(['shutdown'])
  readonly #ends = new ChannelEnds()
  readonly #waiters = new IOWaiters()

  override readv(_iov: readonly IOVec[]): number {
    this.#ends.mayRead()
    return 0
  }

  override writev(iov: readonly IOVec[]): number {
    this.#ends.checkWrite()
    return iovLength(iov)
  }

  override yield(condition: IOCondition): CoroutineFn {
    return this.#waiters.waitTurn(condition)
  }

  override wakeRead(): void {
    this.#waiters.wake('in')
  }

  override shutdown(mode: ShutdownMode): void {
    this.#ends.shutdown(mode)
    this.#waiters.wakeAll()
  }

  override async close(): Promise<void> {
    this.#ends.close()
    this.#waiters.wakeAll()
  }
}
