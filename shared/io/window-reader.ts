/**
 * Receiving messages from a channel: into the thread's ReceiveWindow, where many small ones are taken apart in place, or,
 * when a large one is expected, straight to where it belongs.
 *
 * @context the channel's thread
 */
import type { CoroutineFn } from '../coroutine/coroutine.ts'
import { NBDError } from '../errors/nbd-error.ts'
import { Memory } from '../syscall/memory.ts'
import { QIO_CHANNEL_ERR_BLOCK, type IOVec, type QIOChannel } from './channel.ts'
import { MessageWait } from './message-wait.ts'
import { BEGINNING, receiveWindow, WINDOW_OFFSET, WINDOW_SIZE } from './receive-window.ts'
import { SetAside } from './set-aside.ts'

/** What `discard` reads at a time. */
const DISCARD_SIZE = 64 * 1024

/** From here on, in bytes, a receive has brought payload, and the peer is likely still sending. */
const MUCH = 64 * 1024

/** `receive` was woken without bytes. */
export const WOKEN = -1

export class WindowReader {
  readonly window = receiveWindow()
  readonly channel: QIOChannel
  readonly #iov: [IOVec] = [{ memory: this.window.memory, start: 0, end: 0 }]
  /** Given back: what the next reader gets first. */
  readonly #aside = new SetAside()
  /** The last receive brought much, so there is likely more: worth a system call before waiting. */
  #tryFirst = false
  /** Bytes that the next receive brings at the most. */
  #most = WINDOW_SIZE
  #ended = false
  readonly #message = new MessageWait()

  constructor(channel: QIOChannel) {
    this.channel = channel
  }

  /** Whether `receiveNow` finds what comes while the thread does nothing else. */
  get canPoll(): boolean {
    return this.channel.features.has('poll')
  }

  /**
   * Brings more bytes behind those of the window that are not consumed; waits for at least one.
   *
   * The window is the caller's until it next waits for anything. By then it must have consumed it, or give the rest back
   * with `unread`, or call `receive` again.
   *
   * @param all also what the channel has, when bytes were given back
   * @returns how many bytes came; 0 at the end of the stream; WOKEN when `wakeRead` ended the wait. Without bytes, those
   *   that were not consumed are given back, and the window is empty
   * @throws NBDError of kind `transport`; then, too
   */
  *receive(all = false): CoroutineFn<number> {
    const { window } = this
    if (this.hasUnread) {
      const taken = this.#takeAside()
      if (!all || this.hasUnread || this.#ended) return taken
      window.makeRoom()
      const more = Math.max(this.#readv(window.end), 0)
      window.end += more
      return taken + more
    }
    let atEnd = false
    if (this.#tryFirst) {
      const n = this.receiveNow()
      if (n > 0) return n
      atEnd = n === 0
    }
    this.unread()
    if (this.#ended || atEnd) return 0
    yield* this.channel.yield('in')
    // Only now is the window ours again.
    window.clear()
    const n = this.#readv(WINDOW_OFFSET)
    if (n === QIO_CHANNEL_ERR_BLOCK) return WOKEN
    if (n === 0) return 0
    window.start = WINDOW_OFFSET - this.#aside.length
    window.end = WINDOW_OFFSET + n
    this.#aside.take(window.memory.buffer, window.start, WINDOW_OFFSET)
    return n
  }

  /**
   * As `receive`, without waiting, behind what is in the window.
   *
   * @param least so many bytes have room; fewer than WINDOW_SIZE spare moving what is in the window
   * @returns how many bytes came; 0 at the end of the stream; WOKEN when there are none
   * @throws NBDError of kind `transport`
   */
  receiveNow(least = WINDOW_SIZE): number {
    const { window } = this
    if (this.hasUnread) return this.#takeAside()
    if (this.#ended) return 0
    window.makeRoom(least)
    const n = this.#readv(window.end)
    if (n === QIO_CHANNEL_ERR_BLOCK) return WOKEN
    window.end += n
    return n
  }

  /**
   * Brings more bytes behind those of the window, without waiting but for what is about to come, until it holds `length`,
   * up to WINDOW_SIZE.
   *
   * @returns false when it does not; `readAll` then waits for the rest
   * @throws NBDError of kind `transport`
   */
  fill(length: number): boolean {
    const { window } = this
    while (window.length < length) {
      const n = this.receiveNow(length - window.length)
      if (n > 0) this.#message.found()
      else if (n === 0 || !this.canPoll || !this.#message.goesOn()) return false
    }
    this.#message.end()
    return true
  }

  /**
   * After a message that the window has no room for: the next is likely one more. What is received next is its beginning, and
   * the rest can go straight to where it belongs.
   */
  expectLarge(): void {
    this.#tryFirst = true
    this.#most = BEGINNING
  }

  /** The next `receive` is not going to wait, it seems. */
  get hasMore(): boolean {
    return this.#tryFirst
  }

  /** Gives the unconsumed bytes of the window back; the next reader gets them first. */
  unread(): void {
    const { memory, start, end } = this.window
    this.#aside.putBefore(memory.buffer, start, end)
    this.window.clear()
  }

  /** Something was given back, and not taken yet: `receive` does not wait. */
  get hasUnread(): boolean {
    return this.#aside.length > 0
  }

  /** Takes away what was given back, for a reader elsewhere. */
  takeUnread(): Buffer {
    return this.#aside.takeAll()
  }

  /** What another reader has received, and not consumed: comes first here. */
  putUnread(bytes: Buffer): void {
    this.#aside.putBefore(bytes, 0, bytes.length)
  }

  /** Drops what was given back. Nothing is read any more. */
  delete(): void {
    this.#aside.clear()
  }

  /**
   * Reads exactly the bytes from `start` to `end` of `memory`.
   *
   * @param memory the reader's until this returns
   * @returns false at the end of the stream, when that is before the first byte
   * @throws NBDError of kind `transport`
   * @see qio_channel_readv_all_eof
   */
  *readAllEof(memory: Memory, start: number, end: number): CoroutineFn<boolean> {
    let at = start + this.#aside.take(memory.buffer, start, end)
    while (at < end) {
      const n = this.#ended ? 0 : this.channel.readv([{ memory, start: at, end }])
      if (n === QIO_CHANNEL_ERR_BLOCK) {
        // The peer is likely about to send the rest.
        if (this.canPoll && this.#message.goesOn()) continue
        // What is behind stays in the socket, and need not be set aside.
        this.channel.limitWait(end - at)
        yield* this.channel.yield('in')
        this.channel.limitWait(Infinity)
        this.#message.slept()
      } else if (n === 0) {
        if (at === start) return false
        throw new NBDError(
          'transport',
          `the peer closed the connection after ${at - start} of ${end - start} bytes`
        )
      } else {
        at += n
        this.#message.found()
      }
    }
    this.#message.end()
    return true
  }

  /**
   * Reads what is there, up to the bytes from `start` to `end` of `memory`, without waiting.
   *
   * @returns how many bytes came; 0 at the end of the stream; QIO_CHANNEL_ERR_BLOCK when there are none yet
   * @throws NBDError of kind `transport`
   */
  readNow(memory: Memory, start: number, end: number): number {
    if (this.hasUnread) return this.#aside.take(memory.buffer, start, end)
    return this.#ended ? 0 : this.channel.readv([{ memory, start, end }])
  }

  /** As `readNow`, of up to `length` bytes that nobody wants. @throws NBDError of kind `transport` */
  dropNow(length: number): number {
    if (this.hasUnread) return this.#aside.skip(length)
    return this.#ended ? 0 : this.channel.drop(length)
  }

  /** As `readAllEof`, and the end of the stream is an error. @see qio_channel_readv_all */
  *readAll(memory: Memory, start: number, end: number): CoroutineFn {
    if (yield* this.readAllEof(memory, start, end)) return
    throw new NBDError('transport', 'the peer closed the connection')
  }

  /** Reads and drops `length` bytes. @throws NBDError of kind `transport` */
  *discard(length: number): CoroutineFn {
    if (length === 0) return
    const scratch = Memory.allocate(Math.min(length, DISCARD_SIZE))
    for (let left = length; left > 0; left -= scratch.length) {
      yield* this.readAll(scratch, 0, Math.min(left, scratch.length))
    }
  }

  /** Lets the reader, now or the next one, see the end of the stream, behind what was given back. */
  endReading(): void {
    this.#ended = true
    this.channel.wakeRead()
  }

  #takeAside(): number {
    const { window } = this
    window.makeRoom()
    const n = this.#aside.take(window.memory.buffer, window.end, window.end + WINDOW_SIZE)
    window.end += n
    return n
  }

  #readv(at: number): number {
    const [piece] = this.#iov
    piece.start = at
    piece.end = Math.min(at + this.#most, this.window.memory.length)
    this.#tryFirst = false
    this.#most = WINDOW_SIZE
    try {
      const n = this.channel.readv(this.#iov)
      this.#tryFirst = n >= MUCH
      return n
    } catch (error) {
      this.unread()
      throw error
    }
  }
}
