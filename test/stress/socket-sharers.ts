/**
 * What the threads of a stress test do with a socket that they share: one of them at a time receives, and one sends, in
 * turns; every byte is told by its position in the stream.
 */
import { coAwait } from '../../shared/coroutine/aio-co.ts'
import { CO_MUTEX_WORDS, CoMutexShared } from '../../shared/coroutine/co-mutex-shared.ts'
import { Coroutine, type CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { QIO_CHANNEL_ERR_BLOCK } from '../../shared/io/channel.ts'
import { QIOChannelSocket } from '../../shared/io/channel-socket.ts'
import { WINDOW_SIZE } from '../../shared/io/receive-window.ts'
import { WindowReader, WOKEN } from '../../shared/io/window-reader.ts'
import { Memory } from '../../shared/syscall/memory.ts'

const MAX_MESSAGE = 2 * 1024 * 1024
/** Of the pattern that the stream repeats: prime, so that it is at another place in every buffer. */
const PERIOD = 65_521
/** Two windows: what one receive may have brought, and what was given back before. */
const AHEAD_SIZE = 2 * WINDOW_SIZE

// Words of one end:
const RECEIVE_LOCK = 0
const SEND_LOCK = RECEIVE_LOCK + CO_MUTEX_WORDS
/** Bytes of the stream so far. */
const RECEIVED = SEND_LOCK + CO_MUTEX_WORDS
const SENT = RECEIVED + 1
/** Bytes behind the words that a view has received, and nobody has consumed. */
const AHEAD = SENT + 1
/** Somebody has seen the end of the stream, or failed: what he had consumed is nobody's, and the others stop. */
const RECEIVING_ENDED = AHEAD + 1
const SENDING_ENDED = RECEIVING_ENDED + 1
const WORDS = SENDING_ENDED + 1

/** Bytes of shared memory for the state of one end of a socket, 0 at first. */
export const END_SIZE = WORDS * 4 + AHEAD_SIZE

/** Makes ends new that were used. */
export function renewEnds(memory: SharedArrayBuffer): void {
  // Not what lies behind the words: that takes memory only where somebody has written.
  for (let at = 0; at < memory.byteLength; at += END_SIZE) new Int32Array(memory, at, WORDS).fill(0)
}

/** How much each of the two ends at the beginning of `memory` has received. */
export const bytesReceived = (memory: SharedArrayBuffer): number[] =>
  [0, END_SIZE].map((at) => new Int32Array(memory, at, WORDS)[RECEIVED]!)

/** A view of one end, for one thread. Postable. */
export interface View {
  /** The receiver's to close. */
  fd: number
  memory: SharedArrayBuffer
  /** Of the end's state in it: a multiple of END_SIZE. */
  at: number
}

export interface Task {
  views: View[]
  /** Bytes to go each way; the socket is then shut down for writing. */
  total: number
  /** No message is larger. */
  largest: number
  /** Numbers of views that shut the socket down at a random moment. */
  shutdowns?: number[]
}

/** Messages that each thread has moved. */
export interface Moved {
  received: number
  sent: number
}

let pattern: Memory | undefined

function patternMemory(): Memory {
  if (!pattern) {
    pattern = Memory.allocate(MAX_MESSAGE + PERIOD)
    let x = 1
    for (let i = 0; i < PERIOD; i++) {
      x = Math.imul(x, 1_664_525) + 1_013_904_223
      pattern.buffer[i] = x >>> 24
    }
    for (let end = PERIOD; end < pattern.length; end *= 2) pattern.buffer.copy(pattern.buffer, end, 0, end)
  }
  return pattern
}

/** From 1 to `most`, small ones as often as large ones. */
const randomSize = (most: number): number => Math.floor(Math.exp(Math.random() * Math.log(most + 1)))
const atMost = (most: number): number => 1 + Math.floor(Math.random() * most)

class Sharer {
  readonly #channel: QIOChannelSocket
  readonly #reader: WindowReader
  readonly #words: Int32Array
  readonly #ahead: Uint8Array
  readonly #receiveLock: CoMutexShared
  readonly #sendLock: CoMutexShared
  readonly #task: Task
  readonly #moved: Moved
  readonly #memory: Memory

  constructor({ fd, memory, at }: View, task: Task, moved: Moved, scratch: Memory) {
    this.#channel = QIOChannelSocket.attach({ fd })
    this.#reader = new WindowReader(this.#channel)
    this.#words = new Int32Array(memory, at, WORDS)
    this.#ahead = new Uint8Array(memory, at + WORDS * 4, AHEAD_SIZE)
    this.#receiveLock = new CoMutexShared(this.#words, RECEIVE_LOCK)
    this.#sendLock = new CoMutexShared(this.#words, SEND_LOCK)
    this.#task = task
    this.#moved = moved
    this.#memory = scratch
  }

  /** Takes part until the stream ends, both ways. @throws Error when bytes are wrong */
  async run(shutsDown: boolean): Promise<void> {
    const body = [() => this.#receiveAll(), () => this.#sendAll()]
    if (shutsDown) body.push(() => this.#shutDownSometime())
    const ended = await Promise.allSettled(body.map((part) => Coroutine.start(part)))
    await this.#channel.close()
    for (const outcome of ended) {
      if (outcome.status === 'rejected' && !isEndOfConnection(outcome.reason)) throw outcome.reason
    }
  }

  #receiveAll(): CoroutineFn {
    return this.#takeTurns(this.#receiveLock, RECEIVING_ENDED, () => this.#receiveMessage())
  }

  #sendAll(): CoroutineFn {
    return this.#takeTurns(this.#sendLock, SENDING_ENDED, () => this.#sendMessage())
  }

  /** @param turn returns false when it was the last */
  *#takeTurns(lock: CoMutexShared, ended: number, turn: () => CoroutineFn<boolean>): CoroutineFn {
    for (let goesOn = true; goesOn;) {
      yield* lock.lock()
      goesOn = false
      try {
        if (this.#words[ended] === 0) goesOn = yield* turn()
      } finally {
        if (!goesOn) this.#words[ended] = 1
        lock.unlock()
      }
    }
  }

  /** @returns false at the end of the stream */
  *#receiveMessage(): CoroutineFn<boolean> {
    const reader = this.#reader
    const { window } = reader
    const position = this.#words[RECEIVED]!
    reader.putUnread(Buffer.from(this.#ahead.subarray(0, this.#words[AHEAD])))
    this.#words[AHEAD] = 0
    const left = this.#task.total - position
    // Behind the last byte, one more: there must be none.
    let length = Math.min(randomSize(this.#task.largest), Math.max(left, 1))
    if (Math.random() < 0.5) {
      const n = yield* reader.receive()
      if (n === 0 || n === WOKEN) return false
      // Some of it is left for the next one.
      length = atMost(window.length)
      check(window.memory.buffer, window.start, length, position)
      window.start += length
    } else {
      if (!(yield* reader.readAllEof(this.#memory, 0, length))) return false
      check(this.#memory.buffer, 0, length, position)
    }
    if (length > left) throw new Error(`${length - left} bytes too many`)
    reader.unread()
    const rest = Buffer.concat([reader.takeUnread(), this.#channel.takeReceived()])
    this.#ahead.set(rest)
    this.#words[AHEAD] = rest.length
    this.#words[RECEIVED] = position + length
    this.#moved.received++
    return true
  }

  /** @returns false when all is sent */
  *#sendMessage(): CoroutineFn<boolean> {
    const position = this.#words[SENT]!
    if (position === this.#task.total) {
      this.#channel.shutdown('write')
      return false
    }
    const length = Math.min(randomSize(this.#task.largest), this.#task.total - position)
    const memory = patternMemory()
    let start = position % PERIOD
    const end = start + length
    while (start < end) {
      // Cut somewhere, and gathered from two pieces.
      const cut = start + atMost(end - start)
      const middle = start + Math.floor(Math.random() * (cut - start))
      const n = this.#channel.writev([
        { memory, start, end: middle },
        { memory, start: middle, end: cut }
      ])
      if (n === QIO_CHANNEL_ERR_BLOCK) yield* this.#channel.yield('out')
      else start += n
    }
    // The next one may be another thread.
    yield* this.#channel.yield('out')
    this.#words[SENT] = position + length
    this.#moved.sent++
    return true
  }

  *#shutDownSometime(): CoroutineFn {
    for (let turns = Math.floor(Math.random() * 8); turns > 0; turns--) {
      yield* coAwait(new Promise<void>((resolve) => setImmediate(resolve)))
    }
    this.#channel.shutdown('both')
  }
}

function check(buffer: Buffer, start: number, length: number, position: number): void {
  const expected = patternMemory().buffer
  const from = position % PERIOD
  if (expected.compare(buffer, start, start + length, from, from + length) !== 0) {
    throw new Error(`wrong bytes among ${length} at ${position}`)
  }
}

const isEndOfConnection = (error: unknown): boolean =>
  error instanceof Error && 'kind' in error && error.kind === 'transport'

/** Takes part in all the connections of the task at once, until each has ended. */
export async function shareSockets(task: Task): Promise<Moved> {
  const moved = { received: 0, sent: 0 }
  // The coroutines of a thread may wait in the middle of a message, so each has memory of its own.
  await Promise.all(
    task.views.map((view, number) =>
      new Sharer(view, task, moved, Memory.allocate(task.largest)).run(
        task.shutdowns?.includes(number) ?? false
      )
    )
  )
  return moved
}
