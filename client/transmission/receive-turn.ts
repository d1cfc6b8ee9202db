/**
 * When one part of a shared connection receives: while it has replies to wait for, up to the first reply that is another's.
 *
 * @context the thread of the part
 * @see nbd_receive_replies in QEMU's block/nbd.c
 */
import { Coroutine, type CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import type { QIOChannelSocket } from '../../shared/io/channel-socket.ts'
import type { WindowReader } from '../../shared/io/window-reader.ts'
import type { SharedConnection } from '../sharing/shared-connection.ts'
import type { CookieTable } from './cookie-table.ts'
import type { ReplyParser } from './reply-parser.ts'
import { STATE_REPLY } from './states.ts'

export class ReceiveTurn {
  readonly #sharing: SharedConnection
  readonly #channel: QIOChannelSocket
  readonly #reader: WindowReader
  readonly #table: CookieTable
  readonly #parser: ReplyParser
  #here = false
  /** Was asked for. */
  #wanted = false
  #leaving = false
  #waiting: Coroutine<unknown> | undefined
  #woken = false

  constructor(
    sharing: SharedConnection,
    channel: QIOChannelSocket,
    reader: WindowReader,
    table: CookieTable,
    parser: ReplyParser
  ) {
    this.#sharing = sharing
    this.#channel = channel
    this.#reader = reader
    this.#table = table
    this.#parser = parser
  }

  /** To be called when there are requests to receive replies to. */
  want(): void {
    if (!this.#here && !this.#wanted) this.wake()
  }

  /**
   * Lets the receiver look at what has changed. Not at once: it receives into the window of the thread, which may be in
   * use by whoever has called.
   */
  wake(): void {
    if (!this.#waiting || this.#woken) return
    this.#woken = true
    queueMicrotask(() => {
      const co = this.#waiting
      this.#woken = false
      this.#waiting = undefined
      co?.wake()
    })
  }

  /** No reply is waited for any more. */
  leave(): void {
    this.#leaving = true
    if (this.#here) this.#channel.wakeRead()
    else this.wake()
  }

  /**
   * Before each receive: hands the turn over, if it is not ours any more, and returns when it is.
   *
   * @returns false when we leave
   * @throws NBDError when the connection is broken
   */
  *take(): CoroutineFn<boolean> {
    if (this.#here) this.#handOver()
    while (!this.#here) {
      const { reason } = this.#sharing
      if (reason) throw reason
      if (this.#leaving) return false
      if (!this.#isNeeded) this.#decline()
      else if (this.#take()) break
      this.#waiting = Coroutine.current
      while (this.#waiting) yield* Coroutine.yield()
    }
    return true
  }

  /** Something of ours is to come. */
  get #isNeeded(): boolean {
    return !this.#leaving && this.#table.size > 0
  }

  #take(): boolean {
    this.#wanted = true
    if (!this.#sharing.receiving.take()) return false
    this.#here = true
    this.#reader.putUnread(this.#sharing.readAhead.take())
    return true
  }

  /** It may have been given to us all the same. */
  #decline(): void {
    this.#wanted = false
    this.#sharing.receiving.release()
  }

  #handOver(): void {
    if (this.#parser.state !== STATE_REPLY) return
    const { elsewhere } = this.#parser
    if (elsewhere === undefined && this.#isNeeded) return
    this.#putAside()
    this.#here = false
    this.#wanted = this.#isNeeded
    if (elsewhere !== undefined && this.#sharing.receiving.give(elsewhere)) {
      if (!this.#wanted) this.#sharing.receiving.release()
    } else if (elsewhere !== undefined) {
      // He has just gone: his replies are anybody's now.
      this.#take()
    } else {
      this.#sharing.receiving.release()
    }
  }

  /** What was received and not consumed goes along with the turn. */
  #putAside(): void {
    this.#reader.unread()
    this.#sharing.readAhead.put(Buffer.concat([this.#reader.takeUnread(), this.#channel.takeReceived()]))
  }
}
