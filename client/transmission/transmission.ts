/**
 * The transmission phase of one connection: sends requests, and receives their replies, in whatever order they come.
 *
 * @context the connection's thread
 */
import { Coroutine, type CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { NBDError } from '../../shared/errors/nbd-error.ts'
import { QIO_CHANNEL_ERR_BLOCK, type QIOChannel } from '../../shared/io/channel.ts'
import type { WindowReader } from '../../shared/io/window-reader.ts'
import { NBD_CMD_DISC } from '../../shared/protocol/constants.ts'
import type { Negotiated } from '../negotiation/negotiated.ts'
import type { Cancellation } from './cancellation.ts'
import { CookieTable } from './cookie-table.ts'
import { NBD_LEAVE_TIMEOUT_MS } from './limits.ts'
import { PendingRequest, type Command, type Status } from './pending-request.ts'
import { ReplyParser } from './reply-parser.ts'
import { RequestWriter } from './request-writer.ts'
import { STATE_REPLY } from './states.ts'

const DISC: Command = { type: NBD_CMD_DISC, flags: 0, offset: 0, length: 0 }

export class Transmission {
  readonly #channel: QIOChannel
  readonly #reader: WindowReader
  readonly #table = new CookieTable()
  readonly #parser: ReplyParser
  readonly #writer: RequestWriter
  #error: NBDError | undefined

  constructor(
    channel: QIOChannel,
    reader: WindowReader,
    { mode, contexts }: Pick<Negotiated, 'mode' | 'contexts'>
  ) {
    this.#channel = channel
    this.#reader = reader
    this.#parser = new ReplyParser(this.#table, mode, contexts)
    this.#writer = new RequestWriter(channel, mode, (error) => this.#fail(error))
  }

  /**
   * Sends a request and waits for its reply. Only while `run` runs.
   *
   * When the call is given up, the request fails at once: it is not sent any more, or its reply is read and dropped, and
   * its buffers are not touched.
   *
   * @returns for BLOCK_STATUS, what the server told of each context; otherwise nothing
   * @throws NBDError of kind `request` when the server refuses it; of another kind when the connection is dead; why the
   *   call was given up
   */
  request(command: Command, cancellation?: Cancellation): Promise<Status> {
    return new Promise((resolve, reject) => {
      const request = new PendingRequest(command, resolve, reject)
      if (this.#error) {
        request.abandon(this.#error)
        return
      }
      this.#table.add(request)
      this.#writer.add(request)
      if (cancellation) request.watch(cancellation, (reason) => this.#giveUp(request, reason))
    })
  }

  /** Requests that the server has not answered, and those that nobody waits for. */
  get load(): number {
    return this.#table.size
  }

  /** Waits for all replies that somebody waits for, and takes leave; the server is to close the connection. Never fails. */
  async disconnect(): Promise<void> {
    await this.#table.whenAnswered()
    // A server that has stopped reading would let us wait for ever.
    const timer = setTimeout(() => this.#channel.shutdown('both'), NBD_LEAVE_TIMEOUT_MS)
    const ignore = (): void => undefined
    this.#writer.add(new PendingRequest(DISC, ignore, ignore))
    await Coroutine.start(() => this.#writer.drain())
    clearTimeout(timer)
  }

  /**
   * Receives replies until the connection ends; every request in flight is then rejected, with the reason.
   *
   * @returns why it ended: an error of kind `protocol` or `transport`
   */
  async run(): Promise<NBDError> {
    try {
      await Coroutine.start(() => this.#receive())
    } catch (error) {
      this.#fail(error)
    }
    this.#table.abandonAll(this.#error!)
    return this.#error!
  }

  *#receive(): CoroutineFn<never> {
    try {
      return yield* this.#receiveReplies()
    } finally {
      // The window is the whole thread's: others must not find what we have not consumed.
      this.#reader.window.clear()
    }
  }

  *#receiveReplies(): CoroutineFn<never> {
    const { window } = this.#reader
    const { memory } = window
    const parser = this.#parser
    for (;;) {
      const between = parser.state === STATE_REPLY && window.length === 0
      const n = yield* this.#reader.receive()
      if (n === 0) {
        throw new NBDError(
          'transport',
          `the server closed the connection${between ? '' : ' in the middle of a reply'}`
        )
      }
      window.start = parser.consume(memory.buffer, window.start, window.end)
      yield* this.#receiveDirect()
    }
  }

  /** Long data, as far as they are to go somewhere. */
  *#receiveDirect(): CoroutineFn {
    const parser = this.#parser
    for (let direct = parser.direct; direct; direct = parser.direct) {
      const { memory, at, length } = direct
      const n = this.#reader.readNow(memory, at, at + length)
      if (n === 0)
        throw new NBDError('transport', 'the server closed the connection in the middle of a reply')
      // While we wait, the call may be given up.
      if (n === QIO_CHANNEL_ERR_BLOCK) yield* this.#channel.yield('in')
      else parser.directReceived(n)
    }
  }

  #giveUp(request: PendingRequest, reason: unknown): void {
    if (this.#writer.withdraw(request)) {
      this.#table.remove(request)
      request.giveUp(reason)
    } else if (!request.command.untilDone) {
      this.#table.giveUp(request, reason)
    }
  }

  #fail(error: unknown): void {
    if (this.#error) return
    this.#error = NBDError.is(error) ? error : new NBDError('bug', String(error), { cause: error })
    this.#channel.shutdown('both')
  }
}
