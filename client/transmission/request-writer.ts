/**
 * What goes to the server, in order, in as few system calls as may be.
 *
 * Requests that are issued in one turn of the loop are built one behind the other and leave together; small payloads
 * are copied in between, large ones go along without being copied: from their memory, or straight from a file. Where
 * the channel is full, what follows waits, not built yet: so it can be withdrawn. What is built and not sent is then
 * one request at the most, which has begun.
 *
 * When several threads share the connection, one sends at a time: until nothing is left to send, or to be sent.
 *
 * @context the connection's thread
 */
import { CoQueue } from '../../shared/coroutine/co-queue.ts'
import { Coroutine, type CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { NBDError } from '../../shared/errors/nbd-error.ts'
import { QIOChannelSocket } from '../../shared/io/channel-socket.ts'
import { QIO_CHANNEL_ERR_BLOCK, type IOVec, type QIOChannel } from '../../shared/io/channel.ts'
import { giveMemory, takeMemory } from '../../shared/io/memory-pool.ts'
import { NBD_CMD_FLAG_PAYLOAD_LEN } from '../../shared/protocol/constants.ts'
import {
  encodeExtendedRequest,
  NBD_EXTENDED_REQUEST_SIZE
} from '../../shared/protocol/messages/extended-request.ts'
import { encodeRequest, NBD_REQUEST_SIZE } from '../../shared/protocol/messages/request.ts'
import { NBD_MODE_EXTENDED, type NBDMode } from '../../shared/protocol/nbd-mode.ts'
import { Memory } from '../../shared/syscall/memory.ts'
import type { Role } from '../sharing/role.ts'
import { cookieHalves } from './cookie-table.ts'
import {
  cutError,
  isFilePiece,
  payloadOf,
  readFilePiece,
  shortFileError,
  type FilePiece,
  type Piece
} from './file-payload.ts'
import type { PendingRequest } from './pending-request.ts'

const ARENA_SIZE = 64 * 1024
/** Payloads up to this size are copied: that costs less than a system call of their own. */
const MAX_INLINE = 16 * 1024

/** A request that is built: what it ends with, counted from the first byte of all that were built together. */
interface Built {
  request: PendingRequest
  end: number
}

export interface WriterEvents {
  /** Told once: the connection can take no more requests. */
  failed(error: unknown): void
  /** A request cannot be sent to its end, because of the file that its payload is in. `failed` follows. */
  cut(request: PendingRequest, error: NBDError): void
}

export class RequestWriter {
  readonly #channel: QIOChannel
  /** The same, if it can send files. */
  readonly #socket: QIOChannelSocket | undefined
  readonly #extended: boolean
  readonly #headerSize: number
  readonly #events: WriterEvents
  #waiting: PendingRequest[] = []
  // Of what is built:
  #arena: Memory | undefined
  #pieces: Piece[] = []
  #built: Built[] = []
  #sent = 0
  readonly #allSent = new CoQueue()
  /** A coroutine waits for room. */
  #busy = false
  #scheduled = false
  #broken = false
  #shared: { role: Role; socket: QIOChannelSocket } | undefined

  constructor(channel: QIOChannel, mode: NBDMode, events: WriterEvents) {
    this.#channel = channel
    this.#socket = channel instanceof QIOChannelSocket ? channel : undefined
    this.#extended = mode === NBD_MODE_EXTENDED
    this.#headerSize = this.#extended ? NBD_EXTENDED_REQUEST_SIZE : NBD_REQUEST_SIZE
    this.#events = events
  }

  /** Whether payloads may be parts of files. */
  get sendsFiles(): boolean {
    return this.#socket !== undefined
  }

  /**
   * Queues a request; it is sent at the end of this turn of the loop.
   *
   * @param request its payload is the writer's until it has been answered or withdrawn; one in a file needs `sendsFiles`
   */
  add(request: PendingRequest): void {
    if (this.#broken) return
    this.#waiting.push(request)
    if (this.#scheduled) return
    this.#scheduled = true
    queueMicrotask(() => this.#flush())
  }

  /** From now on others send, too: whoever has the role. Nothing is to be sent just now. @param socket the channel */
  share(role: Role, socket: QIOChannelSocket): void {
    this.#shared = { role, socket }
  }

  /** Nobody else sends any more. */
  endSharing(): void {
    this.#shared = undefined
  }

  /** It may be our turn to send. */
  look(): void {
    if (this.#shared?.role.isMine) this.#flush()
  }

  /**
   * Takes a request back, or at least its payload: what has begun is sent to its end, from a copy.
   *
   * @returns whether nothing of it was sent, or will be
   */
  withdraw(request: PendingRequest): boolean {
    const i = this.#waiting.indexOf(request)
    if (i >= 0) {
      this.#waiting.splice(i, 1)
      return true
    }
    if (this.#built[0]?.request !== request) return false
    try {
      this.#pieces = this.#pieces.map((piece) => this.#copyOf(piece))
    } catch (error) {
      this.#break(cutError(error as NBDError))
    }
    return false
  }

  /** Returns when all is sent, or the connection is broken. */
  *drain(): CoroutineFn {
    this.#flush()
    while (this.#busy) yield* this.#allSent.wait()
  }

  #flush(): void {
    this.#scheduled = false
    if (this.#busy || this.#broken) return
    if (this.#shared && this.#waiting.length > 0 && !this.#shared.role.take()) return
    try {
      if (this.#sendNow()) {
        this.#shared?.role.release()
        return
      }
    } catch (error) {
      this.#break(error)
      return
    }
    this.#busy = true
    Coroutine.create(() => this.#sendLater()).enter()
  }

  *#sendLater(): CoroutineFn {
    try {
      do yield* this.#channel.yield('out')
      while (!this.#sendNow())
    } catch (error) {
      this.#break(error)
    }
    this.#busy = false
    this.#shared?.role.release()
    this.#allSent.restartAll()
  }

  /** @returns false when the channel is full, or what it has taken must be sent before others send */
  #sendNow(): boolean {
    while (this.#pieces.length > 0 || this.#build()) {
      const sent = this.#send(this.#pieces[0]!)
      if (sent === QIO_CHANNEL_ERR_BLOCK) {
        this.#putBack()
        return false
      }
      this.#advance(sent)
    }
    return !this.#shared?.socket.sending
  }

  /** @param head of the pieces @returns bytes, or QIO_CHANNEL_ERR_BLOCK @throws NBDError: nothing else can be sent */
  #send(head: Piece): number {
    if (isFilePiece(head)) return this.#sendFile(head)
    const file = this.#pieces.findIndex(isFilePiece)
    const pieces = file < 0 ? this.#pieces : this.#pieces.slice(0, file)
    return this.#channel.writev(pieces as IOVec[], file >= 0)
  }

  #sendFile({ file, start, end }: FilePiece): number {
    const sent = this.#socket!.sendfile(file, start, end - start)
    if (sent !== 0) return sent
    const error = shortFileError()
    this.#events.cut(this.#built.find(({ end }) => end > this.#sent)!.request, error)
    throw cutError(error)
  }

  /** Builds as many requests as fit in one arena. @returns false when there are none */
  #build(): boolean {
    if (this.#waiting.length === 0) return false
    const arena = takeMemory(ARENA_SIZE)
    let [count, at, end] = [0, 0, 0]
    let open: IOVec | undefined
    for (const request of this.#waiting) {
      const { data } = request.command
      const inline = data && data.length <= MAX_INLINE ? data : undefined
      const size = this.#headerSize + (inline?.length ?? 0)
      if (at + size > ARENA_SIZE) break
      this.#encode(arena.buffer, at, request)
      inline?.copy(arena.buffer, at + this.#headerSize)
      if (open) open.end += size
      else this.#pieces.push((open = { memory: arena, start: at, end: at + size }))
      at += size
      end += size
      const payload = inline ? undefined : payloadOf(request.command)
      if (payload) {
        this.#pieces.push(payload)
        end += payload.end - payload.start
        open = undefined
      }
      this.#built.push({ request, end })
      count++
    }
    this.#waiting.splice(0, count)
    this.#arena = arena
    this.#sent = 0
    return true
  }

  /** The same bytes, in memory that is ours. @throws NBDError */
  #copyOf(piece: Piece): IOVec {
    if (isFilePiece(piece)) return readFilePiece(piece)
    if (piece.memory === this.#arena) return piece
    const end = piece.end - piece.start
    const memory = Memory.allocate(end)
    piece.memory.buffer.copy(memory.buffer, 0, piece.start, piece.end)
    return { memory, start: 0, end }
  }

  #encode(buf: Buffer, at: number, { command, cookie }: PendingRequest): void {
    const { type, offset, length, data, file } = command
    const payload = this.#extended && (data || file) ? NBD_CMD_FLAG_PAYLOAD_LEN : 0
    const header = { type, flags: command.flags | payload, offset, length, ...cookieHalves(cookie) }
    if (this.#extended) encodeExtendedRequest(buf, at, header)
    else encodeRequest(buf, at, header)
  }

  #advance(sent: number): void {
    this.#sent += sent
    const pieces = this.#pieces
    for (let head = pieces[0]; head; head = pieces[0]) {
      const taken = Math.min(sent, head.end - head.start)
      head.start += taken
      sent -= taken
      if (head.start < head.end) return
      pieces.shift()
    }
    this.#forget()
  }

  /** All that was built and has not begun waits again. */
  #putBack(): void {
    const begun = this.#built.findIndex(({ end }) => end > this.#sent)
    // It has begun only when bytes of it are sent; in front of it is what is complete.
    const first = begun === 0 ? 0 : this.#built[begun - 1]!.end
    const keep = this.#sent > first ? 1 : 0
    const back = this.#built.slice(begun + keep)
    this.#waiting.unshift(...back.map(({ request }) => request))
    if (keep === 0) {
      this.#pieces.length = 0
      this.#forget()
      return
    }
    this.#built = [this.#built[begun]!]
    let left = this.#built[0]!.end - this.#sent
    this.#pieces = this.#pieces.filter((piece) => {
      piece.end = Math.min(piece.end, piece.start + left)
      left -= piece.end - piece.start
      return piece.end > piece.start
    })
  }

  #forget(): void {
    this.#built.length = 0
    if (this.#arena) giveMemory(this.#arena)
    this.#arena = undefined
  }

  #break(error: unknown): void {
    this.#broken = true
    this.#waiting.length = 0
    this.#pieces.length = 0
    this.#forget()
    this.#events.failed(error)
  }
}
