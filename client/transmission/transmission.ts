/**
 * The transmission phase of one connection: sends requests, and receives their replies, in whatever order they come.
 *
 * Several threads can share the connection; each has a Transmission of its own, for its own requests.
 *
 * @context the thread of the requests
 */
import { Coroutine, type CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { NBDError } from '../../shared/errors/nbd-error.ts'
import { QIO_CHANNEL_ERR_BLOCK, type QIOChannel } from '../../shared/io/channel.ts'
import type { QIOChannelSocket } from '../../shared/io/channel-socket.ts'
import { BEGINNING } from '../../shared/io/receive-window.ts'
import { WOKEN, type WindowReader } from '../../shared/io/window-reader.ts'
import { NBD_CMD_DISC } from '../../shared/protocol/constants.ts'
import type { Negotiated } from '../negotiation/negotiated.ts'
import { IdleWatch } from '../sharing/idle-watch.ts'
import { SharedConnection, type SharedConnectionHandle } from '../sharing/shared-connection.ts'
import type { Cancellation } from './cancellation.ts'
import { CookieTable } from './cookie-table.ts'
import { inMemory } from './file-payload.ts'
import { NBD_LEAVE_TIMEOUT_MS } from './limits.ts'
import { PendingRequest, type Command, type Status } from './pending-request.ts'
import { ReceiveTurn } from './receive-turn.ts'
import { ReplyParser } from './reply-parser.ts'
import { RequestWriter } from './request-writer.ts'
import { STATE_REPLY } from './states.ts'

const DISC: Command = { type: NBD_CMD_DISC, flags: 0, offset: 0, length: 0 }

/** What a Transmission has when its connection is shared. */
interface Sharing {
  readonly connection: SharedConnection
  readonly socket: QIOChannelSocket
  readonly turn: ReceiveTurn
  readonly idle: IdleWatch
  /** Replies are still to come. */
  readonly waits: () => boolean
}

export class Transmission {
  readonly #channel: QIOChannel
  readonly #reader: WindowReader
  readonly #table = new CookieTable()
  readonly #parser: ReplyParser
  readonly #writer: RequestWriter
  #sharing: Sharing | undefined
  /** Asked for: the receiver begins it, when it does not read. */
  #beginSharing: (() => void) | undefined
  #begun: Promise<SharedConnection> | undefined
  #ended: Promise<NBDError> | undefined
  #error: NBDError | undefined
  #othersGoOn = false

  /** Called when a shared connection is to end: `disconnect` is to follow. */
  onEnding: (() => void) | undefined

  constructor(
    channel: QIOChannel,
    reader: WindowReader,
    { mode, contexts }: Pick<Negotiated, 'mode' | 'contexts'>
  ) {
    this.#channel = channel
    this.#reader = reader
    this.#parser = new ReplyParser(this.#table, mode, contexts)
    this.#writer = new RequestWriter(channel, mode, {
      failed: (error) => this.#fail(error),
      cut: (request, error) => {
        this.#table.remove(request)
        request.abandon(error)
      }
    })
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
      const sendable = this.#writer.sendsFiles ? command : inMemory(command)
      const request = new PendingRequest(sendable, resolve, reject)
      if (this.#error) {
        request.abandon(this.#error)
        return
      }
      if (this.#table.add(request)) this.#writer.add(request)
      if (this.#sharing) this.#receiveFor(this.#sharing)
      if (cancellation) request.watch(cancellation, (reason) => this.#giveUp(request, reason))
    })
  }

  /** Whether a payload in a file goes from there to the server, without passing through our memory. */
  get sendsFiles(): boolean {
    return this.#writer.sendsFiles
  }

  /** Requests that the server has not answered, and those that nobody waits for. */
  get load(): number {
    return this.#table.size
  }

  /** Whether it has ended here only: others still take part. */
  get othersGoOn(): boolean {
    return this.#othersGoOn
  }

  /** Whether other threads may take part. */
  get shared(): SharedConnection | undefined {
    return this.#sharing?.connection
  }

  /**
   * Lets other threads take part from now on. Requests that are in flight are answered first; new ones wait meanwhile.
   *
   * @param socket the channel
   * @param handle of a connection that has ended and whose place this one takes
   * @throws NBDError when the connection has ended; of kind `request` (EMFILE)
   */
  async share(socket: QIOChannelSocket, handle?: SharedConnectionHandle): Promise<SharedConnection> {
    await this.#table.hold()
    try {
      if (this.#error) throw this.#error
      // Somebody else may have asked for it at the same time.
      return this.shared ?? (await (this.#begun ??= this.#beginInReceiver(socket, handle)))
    } finally {
      this.#begun = undefined
      this.#table.release()
      this.#sendHeld()
    }
  }

  /** Takes part in a connection that another thread has begun; before `run`. */
  join(connection: SharedConnection, socket: QIOChannelSocket): void {
    this.#begin(connection, socket)
  }

  /** Waits for all replies that somebody waits for, and takes leave; the server is to close the connection. Never fails. */
  async disconnect(): Promise<void> {
    await this.#table.whenAnswered()
    if (this.#sharing) {
      const stuck = new NBDError('transport', 'the server does not go on in the middle of a reply')
      const timer = setTimeout(() => this.#fail(stuck), NBD_LEAVE_TIMEOUT_MS)
      this.#sharing.turn.leave()
      await this.#ended
      clearTimeout(timer)
    } else {
      await this.#sendDisc()
    }
  }

  /**
   * Receives replies until the connection ends, here at least; every request in flight is then rejected, with the reason.
   *
   * @returns why it ended: an error of kind `protocol` or `transport`
   */
  run(): Promise<NBDError> {
    return (this.#ended = this.#run())
  }

  async #run(): Promise<NBDError> {
    try {
      await Coroutine.start(() => this.#receive())
    } catch (error) {
      this.#fail(error)
    }
    await this.#leave()
    this.#reader.delete()
    this.#error ??= new NBDError('transport', 'the connection was closed')
    this.#beginSharing?.()
    this.#table.abandonAll(this.#error)
    return this.#error
  }

  /** @returns when other parts of the connection go on without this one */
  *#receive(): CoroutineFn {
    const { window } = this.#reader
    const parser = this.#parser
    for (;;) {
      this.#beginSharing?.()
      if (this.#sharing && !(yield* this.#sharing.turn.take())) return
      const between = parser.state === STATE_REPLY && window.length === 0
      const n = yield* this.#reader.receive()
      if (n === WOKEN) continue
      if (n === 0) {
        throw new NBDError(
          'transport',
          `the server closed the connection${between ? '' : ' in the middle of a reply'}`
        )
      }
      this.#consume()
      const large = yield* this.#receiveDirect()
      this.#channel.limitWait(large ? BEGINNING : Infinity)
      if (large) this.#reader.expectLarge()
    }
  }

  #consume(): void {
    const { window } = this.#reader
    try {
      window.start = this.#parser.consume(window.memory.buffer, window.start, window.end)
    } catch (error) {
      // The window is the whole thread's: others must not find what is not consumed any more.
      window.clear()
      throw error
    }
  }

  /** Long data, as far as somebody waits for them. @returns whether there were any */
  *#receiveDirect(): CoroutineFn<boolean> {
    const parser = this.#parser
    let any = false
    for (let direct = parser.direct; direct; direct = parser.direct) {
      any = true
      this.#channel.limitWait(BEGINNING)
      const { memory, at, length } = direct
      const n = memory ? this.#reader.readNow(memory, at, at + length) : this.#reader.dropNow(length)
      if (n === 0)
        throw new NBDError('transport', 'the server closed the connection in the middle of a reply')
      // While we wait, the call may be given up.
      if (n === QIO_CHANNEL_ERR_BLOCK) yield* this.#channel.yield('in')
      else parser.directReceived(n)
    }
    return any
  }

  #begin(connection: SharedConnection, socket: QIOChannelSocket): SharedConnection {
    const turn = new ReceiveTurn(connection, socket, this.#reader, this.#table, this.#parser)
    const idle = new IdleWatch(connection, (error) => this.#fail(error))
    const sharing = { connection, socket, turn, idle, waits: () => this.#table.size > 0 }
    this.#sharing = sharing
    this.#table.share(connection)
    this.#writer.share(connection.sending, socket)
    connection.onWake = () => this.#look(sharing)
    return connection
  }

  /**
   * From the moment that it has begun, others may send requests, and the replies are theirs: a receiver that had not been
   * told yet would read them.
   */
  #beginInReceiver(socket: QIOChannelSocket, handle?: SharedConnectionHandle): Promise<SharedConnection> {
    return new Promise((resolve, reject) => {
      this.#beginSharing = () => {
        this.#beginSharing = undefined
        try {
          if (this.#error) throw this.#error
          resolve(this.#begin(SharedConnection.begin(socket, handle), socket))
        } catch (error) {
          reject(error instanceof Error ? error : new Error(String(error)))
        }
      }
      socket.wakeRead()
    })
  }

  /** Others have changed something. */
  #look({ connection, turn }: Sharing): void {
    const { reason } = connection
    if (reason) {
      this.#fail(reason)
    } else {
      this.#sendHeld()
      this.#writer.look()
      if (connection.ending) this.onEnding?.()
    }
    turn.wake()
  }

  #sendHeld(): void {
    for (let request = this.#table.next(); request; request = this.#table.next()) this.#writer.add(request)
  }

  #receiveFor({ connection, turn, waits }: Sharing): void {
    turn.want()
    connection.watch(waits)
  }

  /** Of a shared connection. */
  async #leave(): Promise<void> {
    if (!this.#sharing) return
    const { connection, socket, idle } = this.#sharing
    idle.stop()
    const wasLast = connection.leave()
    this.#othersGoOn = !wasLast
    // What is still under way there must not touch roles that may be those of the next connection.
    this.#writer.endSharing()
    if (!wasLast || this.#error) return
    socket.setFollowCoroutineCtx(false)
    await this.#sendDisc()
  }

  async #sendDisc(): Promise<void> {
    // A server that has stopped reading would let us wait for ever.
    const timer = setTimeout(() => this.#channel.shutdown('both'), NBD_LEAVE_TIMEOUT_MS)
    const ignore = (): void => undefined
    this.#writer.add(new PendingRequest(DISC, ignore, ignore))
    await Coroutine.start(() => this.#writer.drain())
    clearTimeout(timer)
  }

  #giveUp(request: PendingRequest, reason: unknown): void {
    if (this.#table.isHeld(request) || this.#writer.withdraw(request)) {
      this.#table.remove(request)
      request.giveUp(reason)
    } else if (!request.command.untilDone) {
      this.#table.giveUp(request, reason)
    }
  }

  #fail(error: unknown): void {
    if (this.#error) return
    const own = NBDError.is(error) ? error : new NBDError('bug', String(error), { cause: error })
    this.#error = this.#sharing?.connection.break(own) ?? own
    this.#channel.shutdown('both')
    // The others were told; without the turn we would hear nothing.
    this.#sharing?.turn.wake()
  }
}
