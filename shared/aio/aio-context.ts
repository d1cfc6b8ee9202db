/**
 * The event loop of a thread, as an object: bottom halves, and waking it from other threads, over the thread's libuv
 * loop.
 *
 * One round takes the bottom halves that were scheduled when it began, and runs them; what they schedule runs in the
 * next round. Between two rounds libuv serves sockets and timers, so bottom halves cannot starve them. The order within
 * a turn of the loop is libuv's: timers, sockets, bottom halves; QEMU's is bottom halves, sockets, timers.
 *
 * The thread owns its context's lock while it runs, and hands it over between rounds to whoever asked for it.
 *
 * @see AioContext in QEMU's util/async.c and util/aio-posix.c
 */
import * as net from 'node:net'
import { threadId } from 'node:worker_threads'
import { bugError } from '../errors/nbd-error.ts'
import { duplicateFd } from '../syscall/fd.ts'
import { AdaptivePolling } from './adaptive-polling.ts'
import { aioWaitKick } from './aio-wait.ts'
import {
  BH_ALL,
  BH_DELETED,
  BH_IDLE,
  BH_PENDING,
  BH_SCHEDULED,
  BH_TAKEN_SHIFT,
  claimContext,
  contextBase,
  enqueueSlot,
  FLAGS,
  IDLE,
  LOCK,
  MAX_SLOTS,
  NOTIFIED,
  NOTIFY_ME,
  releaseContext,
  RING,
  RING_TAIL,
  RUNS,
  WAITS,
  words,
  type AioContextHandle
} from './context-table.ts'
import { RFifoLock } from './rfifolock.ts'

/** An idle bottom half runs at the latest after this time. @see aio_compute_bh_timeout */
const IDLE_MS = 10

/** Looks at the notify word in one go, while polling: about a microsecond. */
const SPINS = 50

let current: AioContext | undefined

export class AioContext {
  /** Postable. */
  readonly handle: AioContextHandle
  readonly polling = new AdaptivePolling()
  readonly #base: number
  readonly #lock: RFifoLock
  readonly #wakeUps: net.Socket
  readonly #callbacks: (((this: void) => void) | undefined)[] = []
  readonly #freeSlots: number[] = []
  #slots = 0
  /** Next place of the ring to look at. */
  #head: number
  /** A turn of the loop is asked for, or the pipe has woken it: nobody needs to. */
  #awake = false
  #idleTimer: NodeJS.Timeout | undefined
  #pollUntil = 0
  #quietSince = 0
  /** When the loop last looked while it polled, in ms; 0 when it does not poll. */
  #lookedAt = 0
  #references = 0
  /** The last work came from another thread, and the next is likely to: it is waited for at the notify word. */
  #watches = false
  /** Rounds that made progress. */
  #rounds = 0
  /** Those that wait for a turn that was asked for. */
  #sleepers: (() => void)[] = []

  private constructor() {
    const { handle, readFd } = claimContext()
    this.handle = handle
    this.#base = contextBase(handle)
    this.#head = Atomics.load(words, this.#base + RING_TAIL)
    this.#lock = new RFifoLock(words, this.#base + LOCK)
    this.#lock.lock()
    const options: net.SocketConstructorOpts & { onread: net.OnReadOpts } = {
      // The socket closes it when the thread ends, and the pipe lives on.
      fd: duplicateFd(readFd),
      readable: true,
      writable: false,
      onread: { buffer: Buffer.alloc(64), callback: () => this.#woken() }
    }
    this.#wakeUps = new net.Socket(options)
    this.#wakeUps.resume()
    // The loop lives as long as somebody needs it, not as long as it could be woken.
    this.#wakeUps.unref()
    // Somebody may have notified the context that had the entry before, and nobody does so twice.
    this.#sleep()
  }

  /** The context of the calling thread. @see qemu_get_current_aio_context */
  static current(): AioContext {
    return (current ??= new AioContext())
  }

  /**
   * Keeps the thread's loop alive until `unref` is called as often.
   *
   * @context home-thread
   */
  ref(): void {
    if (this.#references++ === 0) this.#wakeUps.ref()
  }

  /** @context home-thread */
  unref(): void {
    if (--this.#references === 0) this.#wakeUps.unref()
  }

  /** Lets the loop look at what there is. @context any-thread, there through `notify` of the handle. @see aio_notify */
  notify(): void {
    Atomics.store(words, this.#base + NOTIFIED, 1)
    this.#wake()
  }

  /** A turn of the loop is asked for. @context home-thread */
  get hasWork(): boolean {
    return this.#awake || Atomics.load(words, this.#base + NOTIFIED) !== 0
  }

  /**
   * Lets the loop turn once, and says whether a bottom half ran that is not an idle one.
   *
   * Without `blocking` the turn takes what is there. With it, the promise waits for a turn that somebody asked for: by
   * scheduling a bottom half, by `notify`, or from another thread.
   *
   * @context home-thread
   * @see aio_poll
   */
  async poll(blocking: boolean): Promise<boolean> {
    this.ref()
    try {
      const rounds = this.#rounds
      const woken = blocking ? new Promise<void>((resolve) => this.#sleepers.push(resolve)) : undefined
      // Sockets and timers that are ready come first, as in every turn.
      await new Promise((resolve) => setImmediate(resolve))
      if (this.#rounds === rounds) this.#turn()
      if (this.#rounds === rounds) await woken
      return this.#rounds !== rounds
    } finally {
      this.unref()
    }
  }

  /**
   * A handler of a socket begins: the context is not idle.
   *
   * The loop does not poll for more of the same: a look at all sockets is a turn of libuv's, and costs more than being
   * woken by one (a server polling for its client made 0.75 of the requests that one made which slept). Who knows which
   * socket it is can look at that.
   *
   * @context home-thread; `leaveHandler` follows before the loop goes on
   */
  enterHandler(): void {
    this.#watches = false
    this.#pollUntil = 0
    Atomics.store(words, this.#base + IDLE, 0)
  }

  /** The handler is done. @context home-thread */
  leaveHandler(): void {
    // With a turn ahead, the context is idle after that.
    if (!this.#awake) Atomics.store(words, this.#base + IDLE, 1)
  }

  /**
   * Makes sure that the calling thread, and no other, works on what belongs to this context. The home thread has the
   * context anyway, and only counts.
   *
   * @context home-thread; other threads use `acquireContext`
   * @see aio_context_acquire
   */
  acquire(): void {
    this.#lock.lock()
  }

  /** @see aio_context_release */
  release(): void {
    this.#lock.unlock()
  }

  /** A slot for a bottom half. @context home-thread */
  allocateSlot(callback: (this: void) => void): number {
    const slot = this.#freeSlots.pop() ?? this.#slots++
    if (slot >= MAX_SLOTS) throw bugError(`thread ${threadId} has more than ${MAX_SLOTS} bottom halves`)
    this.#callbacks[slot] = callback
    // Somebody who does not yet know that its last user is gone may have put it into the ring: there it stays, once. Its
    // runs go on counting, for those who still wait for one.
    Atomics.and(words, this.#base + FLAGS + slot, ~BH_SCHEDULED)
    Atomics.store(words, this.#base + WAITS + slot, 0)
    return slot
  }

  /** Schedules a slot of this context from its own thread. */
  scheduleSlot(slot: number): void {
    if ((enqueueSlot(this.#base, slot, BH_SCHEDULED) & BH_PENDING) === 0) this.#wake()
  }

  /** As `scheduleSlot`, but it may wait up to 10 ms for a round that has something else to do. */
  scheduleSlotIdle(slot: number): void {
    enqueueSlot(this.#base, slot, BH_SCHEDULED | BH_IDLE)
    this.#idleTimer ??= setTimeout(() => {
      this.#idleTimer = undefined
      this.#turn()
    }, IDLE_MS)
  }

  cancelSlot(slot: number): void {
    Atomics.and(words, this.#base + FLAGS + slot, ~BH_SCHEDULED)
  }

  /** Frees a slot: at once, or when it comes out of the ring. */
  deleteSlot(slot: number): void {
    this.#callbacks[slot] = undefined
    // Through the ring in any case: another thread may be about to put it there.
    if ((enqueueSlot(this.#base, slot, BH_DELETED) & BH_PENDING) === 0) this.#wake()
  }

  /** Gives the context's descriptors back. @context home-thread, when no other thread can reach it any more */
  close(): void {
    this.#wakeUps.destroy()
    releaseContext(this.handle)
    if (current === this) current = undefined
  }

  /** Asks for a turn of the loop. */
  #wake(): void {
    if (this.#awake) return
    this.#awake = true
    // Other threads need not wake us any more; in vain, if one is doing so just now.
    Atomics.store(words, this.#base + NOTIFY_ME, 0)
    setImmediate(() => this.#turn())
  }

  /** The pipe was written to. */
  #woken(): boolean {
    if (!this.#awake) {
      this.#awake = true
      this.#turn()
    }
    return true
  }

  /** A turn of the loop: one round, and then another turn, polling, or sleep. */
  #turn(): void {
    const began = this.polling.options.pollMaxNs === 0 ? 0 : performance.now()
    const asked = Atomics.load(words, this.#base + NOTIFIED) !== 0
    if (asked) this.#watches = true
    const progress = this.#round() || this.#watch(began)
    if (progress || asked) for (const resolve of this.#sleepers.splice(0)) resolve()
    this.#awake = false
    if (this.#ringHasWork()) {
      this.#wake()
    } else if (this.#mayPoll(began, progress)) {
      this.#awake = true
      Atomics.store(words, this.#base + IDLE, 1)
      setImmediate(() => this.#turn())
    } else {
      this.#sleep()
    }
  }

  /**
   * Whether to look again at once instead of sleeping.
   *
   * @param began when this turn did, in ms
   */
  #mayPoll(began: number, progress: boolean): boolean {
    const { polling } = this
    if (polling.options.pollMaxNs === 0) return false
    if (progress) {
      // What the thread does for itself needs nobody to wake it.
      if (!this.#watches) return false
      if (this.#quietSince !== 0) polling.adjust((began - this.#quietSince) * 1e6)
      this.#quietSince = performance.now()
      this.#pollUntil = this.#quietSince + polling.pollNs / 1e6
    } else {
      // `#watch` may have looked since then.
      if (this.#lookedAt !== 0 && this.#lookedAt < began) polling.looked(this.#lookedAt, began)
      if (Math.max(began, this.#lookedAt) >= this.#pollUntil) return false
    }
    if (polling.paused(began)) return false
    this.#lookedAt = Math.max(began, this.#lookedAt)
    return polling.pollNs > 0
  }

  /**
   * While the loop polls, and the last work came from another thread, looks at the notify word until the time for polling
   * is over, and runs what comes. Sockets wait as long. What has just run must have had its microtasks before, so this is
   * for a turn that found nothing.
   *
   * @param began when this turn did, in ms
   * @returns as `#round`
   * @see run_poll_handlers
   */
  #watch(began: number): boolean {
    if (!this.#watches || began >= this.#pollUntil || this.#ringHasWork()) return false
    let before = began
    while (!this.#isNotified()) {
      const now = performance.now()
      this.polling.looked(before, now)
      this.#lookedAt = before = now
      if (now >= this.#pollUntil || this.polling.paused(now)) return false
    }
    return this.#round()
  }

  /** Looks for about a microsecond whether another thread has notified the loop. */
  #isNotified(): boolean {
    for (let i = 0; i < SPINS; i++) if (Atomics.load(words, this.#base + NOTIFIED) !== 0) return true
    return false
  }

  #sleep(): void {
    this.#lookedAt = 0
    Atomics.store(words, this.#base + IDLE, 1)
    // Pairs with `notify` of context-table.ts.
    Atomics.store(words, this.#base + NOTIFY_ME, 1)
    if (Atomics.load(words, this.#base + NOTIFIED) !== 0 || this.#ringHasWork()) this.#wake()
  }

  #ringHasWork(): boolean {
    if (this.#head === Atomics.load(words, this.#base + RING_TAIL)) return false
    if (Atomics.load(words, this.#base + RING + (this.#head & (MAX_SLOTS - 1))) === 0) return false
    return this.#idleTimer === undefined || this.#hasUrgentWork()
  }

  /** Whether anything in the ring is not idle. */
  #hasUrgentWork(): boolean {
    const base = this.#base
    for (let at = this.#head; at !== Atomics.load(words, base + RING_TAIL); at = (at + 1) | 0) {
      const entry = Atomics.load(words, base + RING + (at & (MAX_SLOTS - 1)))
      if (entry === 0) return false
      if ((Atomics.load(words, base + FLAGS + entry - 1) & BH_IDLE) === 0) return true
    }
    return false
  }

  /** Runs what the ring held when the round began. @returns whether anything that is not idle ran. @see aio_bh_poll */
  #round(): boolean {
    const base = this.#base
    Atomics.store(words, base + NOTIFIED, 0)
    this.#handOver()
    let progress = false
    let empty = true
    for (const end = Atomics.load(words, base + RING_TAIL); this.#head !== end;) {
      const place = base + RING + (this.#head & (MAX_SLOTS - 1))
      const slot = Atomics.load(words, place) - 1
      // A producer has taken the place and not yet filled it; it will notify when it has.
      if (slot < 0) break
      // Nobody fills the place again before some slot behind it has come out of the ring, by `takeFlags`, which publishes
      // this store, too.
      words[place] = 0
      if (empty) Atomics.store(words, base + IDLE, 0)
      empty = false
      this.#head = (this.#head + 1) | 0
      const flags = takeFlags(base + FLAGS + slot)
      const runs = (flags & (BH_SCHEDULED | BH_DELETED)) === BH_SCHEDULED
      // Counted before it runs: a poll that begins in the callback waits for another round.
      if (runs && (flags & BH_IDLE) === 0 && !progress) {
        progress = true
        this.#rounds++
      }
      if (runs) this.#run(slot)
      // Also when it was cancelled: nobody shall wait for it for ever.
      Atomics.add(words, base + RUNS + slot, 1)
      aioWaitKick()
      if ((flags & BH_DELETED) !== 0) this.#freeSlots.push(slot)
    }
    return progress
  }

  /** A callback that throws is a fault of the thread's; where the thread survives that, so does the loop. */
  #run(slot: number): void {
    try {
      this.#callbacks[slot]?.()
    } catch (error) {
      queueMicrotask(() => {
        throw error
      })
    }
  }

  /** Lets whoever waits for the context have it, in the order of asking. */
  #handOver(): void {
    if (!this.#lock.contended) return
    this.#lock.unlock()
    this.#lock.lock()
  }
}

/** Clears the flags of a slot that has left the ring, and counts that. @returns what they were */
function takeFlags(at: number): number {
  for (;;) {
    const flags = Atomics.load(words, at)
    const taken = (flags & ~BH_ALL) + (1 << BH_TAKEN_SHIFT)
    if (Atomics.compareExchange(words, at, flags, taken | 0) === flags) return flags
  }
}
