/**
 * A stream of bytes that coroutines read and write, whatever is behind it: a socket, TLS, a program, a file, memory.
 *
 * A transfer never waits by itself: `readv` and `writev` move what can be moved now, or say QIO_CHANNEL_ERR_BLOCK; then
 * `yield` suspends the calling coroutine until it is worth another try. The functions named `All` do both in a loop.
 *
 * One coroutine may read and one may write at a time; whoever lets several do so keeps them apart with a CoMutex.
 *
 * @see QIOChannel in QEMU's include/io/channel.h
 */
import type { CoroutineFn } from '../coroutine/coroutine.ts'
import { NBDError } from '../errors/nbd-error.ts'
import { Memory } from '../syscall/memory.ts'

/** Result of a transfer that would have to wait. @see QIO_CHANNEL_ERR_BLOCK */
export const QIO_CHANNEL_ERR_BLOCK = -2

/** What is dropped at a time. */
const SCRATCH_SIZE = 64 * 1024
let scratch: Memory | undefined

/** What a channel may be able to do beyond its interface. `poll`: bytes are seen without a turn of the loop. @see QIOChannelFeature */
export type QIOChannelFeature =
  'fd-pass' | 'shutdown' | 'seekable' | 'sendfile' | 'follow-coroutine-ctx' | 'poll'

/** What a coroutine waits for. @see GIOCondition */
export type IOCondition = 'in' | 'out'

/** @see QIOChannelShutdown */
export type ShutdownMode = 'read' | 'write' | 'both'

/** Bytes `start` to `end` of a piece of memory. @see struct iovec */
export interface IOVec {
  memory: Memory
  start: number
  end: number
}

export const iovLength = (iov: readonly IOVec[]): number => {
  let length = 0
  for (const { start, end } of iov) length += end - start
  return length
}

export abstract class QIOChannel {
  /** @see qio_channel_has_feature */
  abstract readonly features: ReadonlySet<QIOChannelFeature>

  /**
   * Reads what is there, without waiting.
   *
   * @param iov not changed; the memory is the channel's until this returns
   * @returns bytes, 0 at the end of the stream, or QIO_CHANNEL_ERR_BLOCK
   * @throws NBDError of kind `transport`
   * @see qio_channel_readv
   */
  abstract readv(iov: readonly IOVec[]): number

  /**
   * Writes what there is room for, without waiting.
   *
   * @param iov not changed; the memory is the caller's again when this returns
   * @param more more follows at once: a channel that sends in packets may wait for it
   * @returns bytes, or QIO_CHANNEL_ERR_BLOCK
   * @throws NBDError of kind `transport`
   * @see qio_channel_writev
   */
  abstract writev(iov: readonly IOVec[], more?: boolean): number

  /** About so many bytes were sent that the peer has not received; undefined where the system does not tell. */
  unreadByPeer(): number | undefined {
    return undefined
  }

  /**
   * Suspends the current coroutine, in its own context, until the channel has bytes or is at its end (`in`), or has room
   * (`out`), or `wakeRead`, `shutdown` or `close` was called.
   *
   * @throws NBDError of kind `bug` outside a coroutine, or when another waits for the same
   * @see qio_channel_yield
   */
  abstract yield(condition: IOCondition): CoroutineFn

  /** Lets the coroutine that waits for bytes go on, if there is one. @context home-thread @see qio_channel_wake_read */
  abstract wakeRead(): void

  /**
   * Ends one direction or both; never waits. Readers get the end of the stream, writers an error, at once. What `writev` has
   * taken still goes out before the end of the stream when `mode` is `write`; `both` drops it.
   *
   * @context any-thread that has a view of the channel
   * @see qio_channel_shutdown
   */
  abstract shutdown(mode: ShutdownMode): void

  /**
   * Gives everything back. Who waits for bytes or for room goes on at once, and every transfer from now on fails, saying
   * that the channel is closed. What `writev` has taken is still sent, for as long as a peer that does not read is given.
   *
   * @returns resolves when no descriptor is left; may be called again
   * @context home-thread
   * @see qio_channel_close
   */
  abstract close(): Promise<void>

  /**
   * As `readv`, of up to `length` bytes that nobody wants.
   *
   * @returns bytes, 0 at the end of the stream, or QIO_CHANNEL_ERR_BLOCK
   * @throws NBDError of kind `transport`
   */
  drop(length: number): number {
    scratch ??= Memory.allocate(SCRATCH_SIZE)
    return this.readv([{ memory: scratch, start: 0, end: Math.min(length, SCRATCH_SIZE) }])
  }

  /**
   * What is read while `yield` waits is `bytes` at the most, from the next wait on: the rest is to be received elsewhere.
   * Changes nothing on channels that wait without reading.
   *
   * @param _bytes at least 1; Infinity: as much as there is room for
   */
  limitWait(_bytes: number): void {
    // Nothing is read too soon.
  }

  /** While on, small writes wait to be sent together. Does nothing on channels that send what they get. @see qio_channel_set_cork */
  setCork(_on: boolean): void {
    // Nothing to hold back.
  }

  /** Whether a small write may wait for the peer's acknowledgement of an earlier one. @see qio_channel_set_delay */
  setDelay(_on: boolean): void {
    // Nothing is delayed.
  }

  /**
   * Fills all of `iov`.
   *
   * @param iov the memory is the channel's until this returns
   * @returns false at the end of the stream, when that is before the first byte
   * @throws NBDError of kind `transport`
   * @see qio_channel_readv_all_eof
   */
  *readvAllEof(iov: readonly IOVec[]): CoroutineFn<boolean> {
    const rest = copyOf(iov)
    const total = iovLength(rest)
    for (let done = 0; done < total;) {
      const n = this.readv(rest)
      if (n === QIO_CHANNEL_ERR_BLOCK) {
        yield* this.yield('in')
        continue
      }
      if (n === 0) {
        if (done === 0) return false
        throw new NBDError('transport', `the peer closed the connection after ${done} of ${total} bytes`)
      }
      done += n
      advance(rest, n)
    }
    return true
  }

  /** As `readvAllEof`, and the end of the stream is an error. @see qio_channel_readv_all */
  *readvAll(iov: readonly IOVec[]): CoroutineFn {
    if (yield* this.readvAllEof(iov)) return
    throw new NBDError('transport', 'the peer closed the connection')
  }

  /**
   * Writes all of `iov`.
   *
   * @param iov the memory is the channel's until this returns
   * @throws NBDError of kind `transport`
   * @see qio_channel_writev_all
   */
  *writevAll(iov: readonly IOVec[]): CoroutineFn {
    const rest = copyOf(iov)
    for (let left = iovLength(rest); left > 0;) {
      const n = this.writev(rest)
      if (n === QIO_CHANNEL_ERR_BLOCK) {
        yield* this.yield('out')
        continue
      }
      left -= n
      advance(rest, n)
    }
  }
}

const copyOf = (iov: readonly IOVec[]): IOVec[] => iov.map((piece) => ({ ...piece }))

/** Takes `n` bytes off the front. @see iov_discard_front */
function advance(iov: IOVec[], n: number): void {
  while (n > 0) {
    const head = iov[0]!
    const taken = Math.min(n, head.end - head.start)
    head.start += taken
    n -= taken
    if (head.start === head.end) iov.shift()
  }
}
