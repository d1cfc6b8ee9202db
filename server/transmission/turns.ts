/**
 * One thread's side of taking turns to receive on a connection that several threads serve.
 *
 * Who has the turn receives. When its requests are heavy, it keeps a share of what it has received, leaves the turn with
 * the rest to whoever is free first, and works; unless that is somebody who is busy otherwise. Its share it serves without
 * the turn, whatever the others meet meanwhile. A thread that keeps up keeps its turn.
 *
 * @context the IOThread of its receive loop
 */
import { Coroutine, type CoroutineFn, type CoroutineHandle } from '../../shared/coroutine/coroutine.ts'
import { grant } from '../../shared/coroutine/waiter.ts'
import type { QIOChannelSocket } from '../../shared/io/channel-socket.ts'
import type { ReadAhead } from '../../shared/io/read-ahead.ts'
import type { WindowReader } from '../../shared/io/window-reader.ts'
import { NBD_CMD_DISC } from '../../shared/protocol/constants.ts'
import { NBD_MAX_BUFFER_SIZE } from '../../shared/protocol/limits.ts'
import { newRequest } from '../../shared/protocol/messages/request.ts'
import type { ConnectionState } from './connection-state.ts'
import type { RequestForm } from './request-form.ts'
import { countHandOver } from './thread-counters.ts'

/** Work that is worth waking another thread for, in ms on each side: that costs both together some 80 us of processor time. */
const WAKING_PAYS_MS = 0.3
/** Work that is worth leaving the turn to threads that are busy yet, and find it by themselves. */
const LEAVING_PAYS_MS = 0.1
/** Work that a thread keeps at the most when it passes the turn on, in ms, if it is more than one request. */
const MAX_SHARE_MS = 1.2
/** From here on, in ms, requests are so heavy that replies wait for each other only while more requests are there. */
const HEAVY_MS = 0.1
/** Below this, in ms, no share that is worth a hand-over comes together. */
const LIGHT_MS = 0.02
/** What the newest batch counts for in the average. */
const WEIGHT = 0.25
/** For how many requests a client that has sent several at a time is taken to go on so. */
const DEPTH_MEMORY = 16

/** What the threads of a connection share, beyond its state, when there are several. */
export interface Sharing {
  readonly readAhead: ReadAhead
}

export class Turns {
  readonly #state: ConnectionState
  readonly #reader: WindowReader
  /** Tells that it would be good if other threads took part. */
  readonly #onHelpWanted: () => void
  readonly #form: RequestForm
  readonly #request = newRequest()
  #sharing: Sharing | undefined
  /** It is this thread's turn to receive. */
  #here = true
  /** It works on requests and does not have the turn. */
  #working = false
  /** Waits for its turn. */
  #queued: CoroutineHandle | undefined
  /** Help was asked for, and is not there yet. */
  #asked = false
  /** What a request costs this thread on the average, in ms. */
  #cost = 0
  /** The same, of the last batch. */
  #lastCost = 0

  constructor(state: ConnectionState, reader: WindowReader, form: RequestForm, onHelpWanted: () => void) {
    this.#form = form
    this.#state = state
    this.#reader = reader
    this.#onHelpWanted = onHelpWanted
  }

  /** It is this thread's turn to receive. */
  get here(): boolean {
    return this.#here
  }

  /** Whether several threads take part. */
  get shared(): boolean {
    return this.#sharing !== undefined
  }

  /** Requests take so long that their replies wait for each other only while more of them are there. */
  get heavy(): boolean {
    return this.#sharing !== undefined && this.#cost >= HEAVY_MS
  }

  /** The turn is likely passed on next: with all that can be had, so that both get enough of it. */
  get wantsAll(): boolean {
    return this.#here && this.#sharing !== undefined && this.#cost >= LIGHT_MS
  }

  /** Others may take turns from now on. The current coroutine has the turn, and is the one that keeps it. */
  *begin(sharing: Sharing): CoroutineFn {
    yield* this.#state.receiveLock.lock()
    this.#state.setReceiver(Coroutine.current!.ctx.handle)
    this.#sharing = sharing
    this.#asked = false
  }

  /** Takes part where another thread has begun: the turn is elsewhere. */
  join(sharing: Sharing): void {
    this.#sharing = sharing
    this.#here = false
  }

  /** Takes note of a batch. */
  measure(ms: number, requests: number): void {
    this.#lastCost = ms / requests
    this.#cost += (this.#lastCost - this.#cost) * WEIGHT
  }

  /** Waits for the turn; what others have received and not taken comes with it. The share must be done. */
  *take(): CoroutineFn {
    if (this.#working) {
      this.#working = false
      this.#state.endWork()
    }
    const { handle, ctx } = Coroutine.current!
    this.#queued = handle
    yield* this.#state.receiveLock.lock()
    this.#queued = undefined
    this.#here = true
    if (this.#state.setReceiver(ctx.handle)) {
      this.#state.countHandOver()
      countHandOver()
    }
    this.#reader.putUnread(this.#sharing!.readAhead.take())
  }

  /** The connection has ended here; the others, one by one, see that. */
  end(): void {
    if (this.#sharing && this.#here) this.#state.receiveLock.unlock()
  }

  /** Whoever has the turn may have died: nobody waits for it any longer. */
  abort(): void {
    if (this.#queued !== undefined) grant(this.#queued)
  }

  /**
   * Before a request is served: passes the turn on, or asks for somebody who could take it, if requests will keep this
   * thread busy while others wait. The window then ends with this thread's share.
   *
   * @param end of the request, in the window
   */
  passOn(end: number): void {
    if (!this.#here || this.#asked) return
    // Both: a single delay, of whatever cause, makes no request heavy.
    const cost = Math.min(this.#cost, this.#lastCost)
    if (cost < LIGHT_MS) return
    const state = this.#state
    const { window } = this.#reader
    if (window.end > end || state.working > 0) state.depth = DEPTH_MEMORY
    else if (state.depth > 0) state.depth--
    if (state.depth === 0) return
    // Those who could take part, and do not yet, have to be woken.
    const waiter = this.#sharing ? state.receiveLock.waiter : 'idle'
    if (waiter === 'busy') return
    const kept = this.#share(end, cost, waiter === 'idle' ? WAKING_PAYS_MS : LEAVING_PAYS_MS)
    if (kept === undefined) return
    if (this.#sharing) {
      this.#passRest(this.#sharing, kept)
    } else {
      this.#asked = true
      if (state.askForHelp()) this.#onHelpWanted()
    }
  }

  /**
   * @param pays work that is worth a hand-over, in ms
   * @returns where this thread's share ends in the window; undefined when it is less than that
   */
  #share(end: number, cost: number, pays: number): number | undefined {
    const most = Math.max(1, Math.floor(MAX_SHARE_MS / cost))
    const ends = this.#wholeRequests(end, 2 * most)
    const kept = Math.min(Math.ceil(ends.length / 2), most)
    // What else there is comes while this thread is at its share.
    return kept * cost < pays ? undefined : ends[kept - 1]
  }

  /** Ends of the requests that are there as a whole, `end` first, up to one that must be met by who has the turn; `most` of them. */
  #wholeRequests(end: number, most: number): number[] {
    const { window } = this.#reader
    const { size, decode, hasPayload } = this.#form
    const request = this.#request
    const ends = [end]
    for (let at = end; ends.length < most && at + size <= window.end;) {
      if (!decode(window.memory.buffer, at, request) || request.type === NBD_CMD_DISC) break
      at += size
      if (hasPayload(request)) {
        if (request.length > NBD_MAX_BUFFER_SIZE || request.length > window.end - at) break
        at += request.length
      }
      ends.push(at)
    }
    return ends
  }

  /** @param end of this thread's share */
  #passRest({ readAhead }: Sharing, end: number): void {
    const { window } = this.#reader
    const channel = this.#reader.channel as QIOChannelSocket
    const rest = Buffer.concat([
      window.memory.buffer.subarray(end, window.end),
      this.#reader.takeUnread(),
      channel.takeReceived()
    ])
    readAhead.put(rest)
    window.end = end
    this.#here = false
    this.#working = true
    this.#state.beginWork()
    this.#state.receiveLock.unlock()
  }
}
