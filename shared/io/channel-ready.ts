/** A channel whose transfers never have to wait: memory, a file, nothing. */
import type { CoroutineFn } from '../coroutine/coroutine.ts'
import { ChannelEnds } from './channel-ends.ts'
import { QIOChannel, type IOCondition, type ShutdownMode } from './channel.ts'
import { IOWaiters } from './io-waiters.ts'

export abstract class QIOChannelReady extends QIOChannel {
  protected readonly ends = new ChannelEnds()
  readonly #waiters = new IOWaiters()

  override yield(condition: IOCondition): CoroutineFn {
    return this.#waiters.waitTurn(condition)
  }

  override wakeRead(): void {
    this.#waiters.wake('in')
  }

  override shutdown(mode: ShutdownMode): void {
    this.ends.shutdown(mode)
    this.#waiters.wakeAll()
  }

  override async close(): Promise<void> {
    if (this.ends.closed) return
    this.ends.close()
    this.release()
    this.#waiters.wakeAll()
  }

  /** Gives back what is behind the channel; called once. */
  protected release(): void {
    // Some have nothing.
  }
}
