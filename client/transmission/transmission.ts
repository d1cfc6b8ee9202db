/**
 * The transmission phase of one connection: sends requests, and receives their replies, in whatever order they come.
 *
 * @context the connection's thread
 */
import { Coroutine, type CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { NBDError } from '../../shared/errors/nbd-error.ts'
import type { QIOChannel } from '../../shared/io/channel.ts'
import type { WindowReader } from '../../shared/io/window-reader.ts'
import { NBD_CMD_DISC } from '../../shared/protocol/constants.ts'
import type { Negotiated } from '../negotiation/negotiated.ts'
import { cookieHalves, CookieTable } from './cookie-table.ts'
import { PendingRequest, type Command } from './pending-request.ts'
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
    { structured, allocationId }: Pick<Negotiated, 'structured' | 'allocationId'>
  ) {
    this.#channel = channel
    this.#reader = reader
    this.#parser = new ReplyParser(this.#table, structured, allocationId)
    this.#writer = new RequestWriter(channel, (error) => this.#fail(error))
  }

  /**
   * Sends a request and waits for its reply. Only while `run` runs.
   *
   * @returns for BLOCK_STATUS, length and flags of one extent after the other; otherwise nothing
   * @throws NBDError of kind `request` when the server refuses it; of another kind when the connection is dead
   */
  request(command: Command): Promise<number[]> {
    return new Promise((resolve, reject) => {
      const request = new PendingRequest(command, resolve, reject)
      if (this.#error) {
        request.abandon(this.#error)
        return
      }
      const { type, flags, offset, length, data } = command
      this.#writer.add({ type, flags, offset, length, ...cookieHalves(this.#table.add(request)) }, data)
    })
  }

  /** Waits for all replies, and takes leave. The server then closes the connection. Never fails. */
  async disconnect(): Promise<void> {
    await this.#table.whenEmpty()
    this.#writer.add({ ...DISC, cookieHigh: 0, cookieLow: 0 })
    await Coroutine.start(() => this.#writer.drain())
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
      const { direct } = parser
      if (!direct) continue
      yield* this.#reader.readAll(direct.memory, direct.at, direct.at + direct.length)
      parser.directReceived()
    }
  }

  #fail(error: unknown): void {
    if (this.#error) return
    this.#error = NBDError.is(error) ? error : new NBDError('bug', String(error), { cause: error })
    this.#channel.shutdown('both')
  }
}
