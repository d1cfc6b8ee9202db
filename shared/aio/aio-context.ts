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
import { createPipe } from '../syscall/pipe.ts'
import { closeFd } from '../syscall/fd.ts'
import { AdaptivePolling } from './adaptive-polling.ts'
import {
  BH_DELETED,
  BH_IDLE,
  BH_PENDING,
  BH_SCHEDULED,
  contextWords,
  enqueueSlot,
  FLAGS,
  LOCK,
  MAX_SLOTS,
  newContextMemory,
  NOTIFIED,
  NOTIFY_ME,
  RING,
  RING_TAIL,
  type AioContextHandle
} from './context-memory.ts'
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
  readonly #words: Int32Array
  readonly #lock: RFifoLock
  readonly #wakeUps: net.Socket
  readonly #callbacks: (((this: void) => void) | undefined)[] = []
  readonly #freeSlots: number[] = []
  #slots = 0
  /** Next place of the ring to look at. */
  #head = 0
  /** A turn of the loop is asked for, or the pipe has woken it: nobody needs to. */
  #awake = false
  #idleTimer: NodeJS.Timeout | undefined
  #pollUntil = 0
  #quietSince = 0
  #references = 0
  /** Work was done since the last turn, but not by bottom halves. */
  #busy = false
  /** Rounds that made progress. */
  #rounds = 0
  /** Those that wait for a turn that was asked for. */
  #sleepers: (() => void)[] = []

  private constructor() {
    const { readFd, writeFd } = createPipe()
    this.handle = { memory: newContextMemory(), notifyFd: writeFd }
    this.#words = contextWords(this.handle.memory)
    this.#lock = new RFifoLock(this.#words, LOCK)
    this.#lock.lock()
    const options: net.SocketConstructorOpts & { onread: net.OnReadOpts } = {
      fd: readFd,
      readable: true,
      writable: false,
      onread: { buffer: Buffer.alloc(64), callback: () => this.#woken() }
    }
    this.#wakeUps = new net.Socket(options)
    this.#wakeUps.resume()
    // The loop lives as long as somebody needs it, not as long as it could be woken.
    this.#wakeUps.unref()
    Atomics.store(this.#words, NOTIFY_ME, 1)
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
    Atomics.store(this.#words, NOTIFIED, 1)
    this.#wake()
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
   * A handler outside bottom halves has done work: the loop will poll for more before it sleeps.
   *
   * @context home-thread
   */
  noteProgress(): void {
    if (this.polling.options.pollMaxNs === 0) return
    this.#busy = true
    this.#wake()
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
    Atomics.store(this.#words, FLAGS + slot, 0)
    return slot
  }

  /** Schedules a slot of this context from its own thread. */
  scheduleSlot(slot: number): void {
    if (enqueueSlot(this.#words, slot, BH_SCHEDULED)) this.#wake()
  }

  /** As `scheduleSlot`, but it may wait up to 10 ms for a round that has something else to do. */
  scheduleSlotIdle(slot: number): void {
    enqueueSlot(this.#words, slot, BH_SCHEDULED | BH_IDLE)
    this.#idleTimer ??= setTimeout(() => {
      this.#idleTimer = undefined
      this.#turn()
    }, IDLE_MS)
  }

  cancelSlot(slot: number): void {
    Atomics.and(this.#words, FLAGS + slot, ~BH_SCHEDULED)
  }

  /** Frees a slot: at once, or when it comes out of the ring. */
  deleteSlot(slot: number): void {
    this.#callbacks[slot] = undefined
    // Through the ring in any case: another thread may be about to put it there.
    if (enqueueSlot(this.#words, slot, BH_DELETED)) this.#wake()
  }

  /** Gives the context's descriptors back. @context home-thread, when no other thread can reach it any more */
  close(): void {
    this.#wakeUps.destroy()
    closeFd(this.handle.notifyFd)
    this.#lock.unlock()
    if (current === this) current = undefined
  }

  /** Asks for a turn of the loop. */
  #wake(): void {
    if (this.#awake) return
    this.#awake = true
    // Other threads need not wake us any more; in vain, if one is doing so just now.
    Atomics.store(this.#words, NOTIFY_ME, 0)
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
    const asked = Atomics.load(this.#words, NOTIFIED) !== 0
    const progress = this.#round()
    if (progress || asked) for (const resolve of this.#sleepers.splice(0)) resolve()
    this.#awake = false
    if (this.#ringHasWork()) {
      this.#wake()
    } else if (this.#mayPoll(began, progress || this.#busy)) {
      this.#awake = true
      setImmediate(() => this.#turn())
    } else {
      this.#sleep()
    }
    this.#busy = false
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
      if (this.#quietSince !== 0) polling.adjust((began - this.#quietSince) * 1e6)
      this.#quietSince = performance.now()
      this.#pollUntil = this.#quietSince + polling.pollNs / 1e6
    } else if (began >= this.#pollUntil) {
      return false
    }
    for (let i = 0; i < SPINS && Atomics.load(this.#words, NOTIFIED) === 0; i++);
    return polling.pollNs > 0
  }

  #sleep(): void {
    // Pairs with `notify` of context-memory.ts.
    Atomics.store(this.#words, NOTIFY_ME, 1)
    if (Atomics.load(this.#words, NOTIFIED) !== 0 || this.#ringHasWork()) this.#wake()
  }

  #ringHasWork(): boolean {
    const words = this.#words
    if (Atomics.load(words, RING + (this.#head & (MAX_SLOTS - 1))) === 0) return false
    return this.#idleTimer === undefined || this.#hasUrgentWork()
  }

  /** Whether anything in the ring is not idle. */
  #hasUrgentWork(): boolean {
    const words = this.#words
    for (let at = this.#head; at !== Atomics.load(words, RING_TAIL); at = (at + 1) | 0) {
      const entry = Atomics.load(words, RING + (at & (MAX_SLOTS - 1)))
      if (entry === 0) return false
      if ((Atomics.load(words, FLAGS + entry - 1) & BH_IDLE) === 0) return true
    }
    return false
  }

  /** Runs what the ring held when the round began. @returns whether anything that is not idle ran. @see aio_bh_poll */
  #round(): boolean {
    const words = this.#words
    Atomics.store(words, NOTIFIED, 0)
    this.#handOver()
    let progress = false
    for (let end = Atomics.load(words, RING_TAIL); this.#head !== end; this.#head = (this.#head + 1) | 0) {
      const entry = Atomics.exchange(words, RING + (this.#head & (MAX_SLOTS - 1)), 0)
      // A producer has taken the place and not yet filled it; it will notify when it has.
      if (entry === 0) break
      const flags = Atomics.and(words, FLAGS + entry - 1, ~(BH_PENDING | BH_SCHEDULED | BH_IDLE))
      if ((flags & BH_DELETED) !== 0) {
        this.#freeSlots.push(entry - 1)
      } else if ((flags & BH_SCHEDULED) !== 0) {
        // Counted before it runs: a poll that begins in the callback waits for another round.
        if ((flags & BH_IDLE) === 0 && !progress) {
          progress = true
          this.#rounds++
        }
        this.#callbacks[entry - 1]?.()
      }
    }
    return progress
  }

  /** Lets whoever waits for the context have it, in the order of asking. */
  #handOver(): void {
    if (!this.#lock.contended) return
    this.#lock.unlock()
    this.#lock.lock()
  }
}
