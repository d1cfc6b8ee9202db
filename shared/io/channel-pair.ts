/**
 * Two channels joined in memory: what is written to one end is read from the other. The ends may live in different
 * threads.
 *
 * All of it lies in one SharedArrayBuffer: for each direction a ring of bytes, and a few words that say how far it is
 * written and read. Positions count bytes modulo 2^32; the ring's size is a power of two, so that they wrap with it.
 *
 * As long as no end was given to another thread, one end wakes the other directly. From then on waiting is by
 * Atomics.waitAsync: whoever waits says so before looking once more, and whoever moves bytes does so before looking
 * whether anybody waits, so no wake-up is lost.
 */
import { coAwait } from '../coroutine/aio-co.ts'
import { Coroutine, type CoroutineFn } from '../coroutine/coroutine.ts'
import { bugError, NBDError } from '../errors/nbd-error.ts'
import { ChannelEnds } from './channel-ends.ts'
import {
  iovLength,
  QIO_CHANNEL_ERR_BLOCK,
  QIOChannel,
  type IOCondition,
  type IOVec,
  type QIOChannelFeature,
  type ShutdownMode
} from './channel.ts'
import { IOWaiters } from './io-waiters.ts'

/** Bytes that a direction holds when nothing else is asked for: as many as a pipe. */
const DEFAULT_CAPACITY = 64 * 1024

// Words of a direction.
/** Position of the next byte to read; only the reader moves it. */
const HEAD = 0
/** Position behind the last byte written; only the writer moves it. */
const TAIL = 1
/** Which side has ended the direction. */
const ENDED = 2
/** Whether a coroutine waits for bytes, and for room. */
const WAITING = { in: 3, out: 4 } as const
/** Grows when there is a reason for whoever waits to look again. */
const EVENT = { in: 5, out: 6 } as const
const DIRECTION_WORDS = 8
const HEADER_BYTES = 2 * DIRECTION_WORDS * 4

const BY_WRITER = 1
const BY_READER = 2

/** One end as another thread knows it: postable. */
export interface QIOChannelPairHandle {
  memory: SharedArrayBuffer
  end: 0 | 1
}

/** What the two ends know of each other while both are in the thread that created them. */
interface Siblings {
  ends: QIOChannelPair[]
  /** An end was given to another thread. */
  shared: boolean
}

export class QIOChannelPair extends QIOChannel {
  override readonly features: ReadonlySet<QIOChannelFeature> = new Set(['shutdown'])
  readonly #handle: QIOChannelPairHandle
  readonly #siblings: Siblings | undefined
  readonly #waiters = new IOWaiters()
  readonly #words: Int32Array
  /** Index of the first word of the direction that this end reads, and of the one that it writes. */
  readonly #in: number
  readonly #out: number
  readonly #inRing: Uint8Array
  readonly #outRing: Uint8Array
  readonly #ends = new ChannelEnds()
  #detached = false

  private constructor(handle: QIOChannelPairHandle, siblings?: Siblings) {
    super()
    siblings?.ends.push(this)
    this.#siblings = siblings
    const { memory, end } = handle
    const capacity = (memory.byteLength - HEADER_BYTES) / 2
    const ring = (of: number): Uint8Array => new Uint8Array(memory, HEADER_BYTES + of * capacity, capacity)
    this.#handle = handle
    this.#words = new Int32Array(memory, 0, 2 * DIRECTION_WORDS)
    this.#in = (1 - end) * DIRECTION_WORDS
    this.#out = end * DIRECTION_WORDS
    this.#inRing = ring(1 - end)
    this.#outRing = ring(end)
  }

  /**
   * Both ends, in the calling thread.
   *
   * @param capacity bytes on the way in each direction, a power of two
   */
  static create(capacity = DEFAULT_CAPACITY): [QIOChannelPair, QIOChannelPair] {
    if (capacity < 1 || capacity > 2 ** 30 || !Number.isInteger(Math.log2(capacity))) {
      throw bugError(`a capacity of ${capacity} bytes is not a power of two up to 2^30`)
    }
    const memory = new SharedArrayBuffer(HEADER_BYTES + 2 * capacity)
    const siblings: Siblings = { ends: [], shared: false }
    return [
      new QIOChannelPair({ memory, end: 0 }, siblings),
      new QIOChannelPair({ memory, end: 1 }, siblings)
    ]
  }

  /** An end that was created in another thread. */
  static open(handle: QIOChannelPairHandle): QIOChannelPair {
    return new QIOChannelPair(handle)
  }

  /** Postable; lets another thread open this end by `open`, and use it instead. */
  get handle(): QIOChannelPairHandle {
    if (this.#siblings && !this.#siblings.shared) {
      this.#siblings.shared = true
      // Whoever waits must wait anew, so that other threads can wake it.
      for (const end of this.#siblings.ends) end.#waiters.wakeAll()
    }
    return this.#handle
  }

  /** Gives this end up without ending it: it can only be opened anew, in this thread or another. */
  detach(): QIOChannelPairHandle {
    const { handle } = this
    this.#detached = true
    this.#ends.close()
    return handle
  }

  override readv(iov: readonly IOVec[]): number {
    if (!this.#ends.mayRead()) return 0
    // In this order: what was written before the end counts.
    const ended = Atomics.load(this.#words, this.#in + ENDED)
    if ((ended & BY_READER) !== 0) return 0
    const head = this.#words[this.#in + HEAD]!
    const available = (Atomics.load(this.#words, this.#in + TAIL) - head) >>> 0
    if (available === 0) return (ended & BY_WRITER) !== 0 ? 0 : QIO_CHANNEL_ERR_BLOCK
    let done = 0
    for (const { memory, start, end } of iov) {
      if (done === available) break
      const n = Math.min(end - start, available - done)
      const at = (head + done) & (this.#inRing.length - 1)
      const first = Math.min(n, this.#inRing.length - at)
      memory.buffer.set(this.#inRing.subarray(at, at + first), start)
      if (first < n) memory.buffer.set(this.#inRing.subarray(0, n - first), start + first)
      done += n
    }
    Atomics.store(this.#words, this.#in + HEAD, (head + done) | 0)
    this.#announce(this.#in, 'out')
    return done
  }

  override writev(iov: readonly IOVec[]): number {
    this.#ends.checkWrite()
    const ended = Atomics.load(this.#words, this.#out + ENDED)
    if ((ended & BY_WRITER) !== 0) throw new NBDError('transport', 'the channel is shut down for writing')
    if ((ended & BY_READER) !== 0) throw new NBDError('transport', 'the peer reads no more')
    const tail = this.#words[this.#out + TAIL]!
    const room = this.#outRing.length - ((tail - Atomics.load(this.#words, this.#out + HEAD)) >>> 0)
    let done = 0
    for (const { memory, start, end } of iov) {
      if (done === room) break
      const n = Math.min(end - start, room - done)
      const at = (tail + done) & (this.#outRing.length - 1)
      const first = Math.min(n, this.#outRing.length - at)
      this.#outRing.set(memory.buffer.subarray(start, start + first), at)
      if (first < n) this.#outRing.set(memory.buffer.subarray(start + first, start + n), 0)
      done += n
    }
    if (done === 0) return iovLength(iov) === 0 ? 0 : QIO_CHANNEL_ERR_BLOCK
    Atomics.store(this.#words, this.#out + TAIL, (tail + done) | 0)
    this.#announce(this.#out, 'in')
    return done
  }

  override *yield(condition: IOCondition): CoroutineFn {
    if (this.#siblings && !this.#siblings.shared) {
      if (this.#ready(condition)) return yield* this.#waiters.waitTurn(condition)
      return yield* this.#waiters.wait(condition)
    }
    const co = Coroutine.current
    if (!co) throw bugError('QIOChannel.yield outside a coroutine')
    const direction = condition === 'in' ? this.#in : this.#out
    if (Atomics.exchange(this.#words, direction + WAITING[condition], 1) !== 0) {
      throw bugError(`two coroutines wait for '${condition}' of one channel`)
    }
    co.ctx.ref()
    try {
      const seen = Atomics.load(this.#words, direction + EVENT[condition])
      if (this.#ready(condition)) return
      const wait = Atomics.waitAsync(this.#words, direction + EVENT[condition], seen)
      if (wait.async) yield* coAwait(wait.value)
    } finally {
      co.ctx.unref()
      Atomics.store(this.#words, direction + WAITING[condition], 0)
    }
  }

  override wakeRead(): void {
    this.#announce(this.#in, 'in')
  }

  override shutdown(mode: ShutdownMode): void {
    if (mode !== 'write') this.#end(this.#in, BY_READER)
    if (mode !== 'read') this.#end(this.#out, BY_WRITER)
  }

  /** Ends both directions; the peer can still read what is on its way. */
  override async close(): Promise<void> {
    if (this.#detached) return
    this.#ends.close()
    this.shutdown('both')
  }

  #ready(condition: IOCondition): boolean {
    const direction = condition === 'in' ? this.#in : this.#out
    if (Atomics.load(this.#words, direction + ENDED) !== 0) return true
    const tail = Atomics.load(this.#words, direction + TAIL)
    const used = (tail - Atomics.load(this.#words, direction + HEAD)) >>> 0
    return condition === 'in' ? used > 0 : used < this.#outRing.length
  }

  #end(direction: number, by: number): void {
    Atomics.or(this.#words, direction + ENDED, by)
    this.#announce(direction, 'in')
    this.#announce(direction, 'out')
  }

  /** Lets whoever waits for this look again. */
  #announce(direction: number, condition: IOCondition): void {
    if (this.#siblings && !this.#siblings.shared) {
      const writer = direction / DIRECTION_WORDS
      this.#siblings.ends[condition === 'in' ? 1 - writer : writer]!.#waiters.wake(condition)
      return
    }
    if (Atomics.load(this.#words, direction + WAITING[condition]) === 0) return
    Atomics.add(this.#words, direction + EVENT[condition], 1)
    Atomics.notify(this.#words, direction + EVENT[condition])
  }
}
