/**
 * One part of a connection that several threads share: what it has of the shared memory, and how the others wake it.
 *
 * All parts use one socket, each by a descriptor of its own. Who has requests in flight wants to receive, and one of those
 * does: it reads its own replies, and hands the role over, together with what it has read too far, when the next reply is
 * another's. Sending is a role, too, for as long as it takes to send what is ready. The memory also keeps a descriptor of
 * the socket open, from which new parts get theirs; the last part closes it.
 *
 * When it has ended for all, and everybody has left, another connection can take its place in the same memory: the next
 * generation.
 *
 *   OPEN     requests are taken
 *   ENDING   each part leaves when its requests are answered
 *   BROKEN   a fault has ended it, for all; `reason` says which
 *
 * @context the thread of the part
 * @see nbd_receive_replies in QEMU's block/nbd.c
 */
import { AioContext } from '../../shared/aio/aio-context.ts'
import { aioWaitKick, aioWaitWhile } from '../../shared/aio/aio-wait.ts'
import { BottomHalf } from '../../shared/aio/bottom-half.ts'
import { NBDError } from '../../shared/errors/nbd-error.ts'
import { QIOChannelSocket } from '../../shared/io/channel-socket.ts'
import { ReadAhead } from '../../shared/io/read-ahead.ts'
import { closeFd, duplicateFd } from '../../shared/syscall/fd.ts'
import type { Command } from '../transmission/pending-request.ts'
import { EndReason, REASON_BYTES } from './end-reason.ts'
import { PartTable, PARTS_WORDS } from './parts.ts'
import { RequestSlots, SLOTS_WORDS } from './request-slots.ts'
import { Role, ROLE_WORDS } from './role.ts'

/** A connection as another thread is given it: postable, for any number of parts. */
export interface SharedConnectionHandle {
  memory: SharedArrayBuffer
  readAhead: SharedArrayBuffer
}

/** How many connections there were before this one. */
const GENERATION = 0
/** There will not be another. */
const FINAL = 1
// Of each connection anew:
const PHASE = 2
/** The descriptor that the memory keeps. */
const SOCKET = 3
const RECEIVING = 4
const SENDING = RECEIVING + ROLE_WORDS
const PARTS = SENDING + ROLE_WORDS
const SLOTS = PARTS + PARTS_WORDS
const REASON = SLOTS + SLOTS_WORDS
const WORD = Int32Array.BYTES_PER_ELEMENT

const OPEN = 0
const ENDING = 1
/** Somebody is about to say why it is broken. */
const BREAKING = 2
const BROKEN = 3

// What parts want.
const TO_RECEIVE = 1
const TO_SEND = 2
const A_SLOT = 4

/** Looks at a word that another thread changes within a few instructions, unless it is ended by force just then. */
const SPINS = 1_000_000

/** For threads that have ended to be noticed by those that wait for something, in ms. */
const LOOK_FOR_DEAD_MS = 500

/** Parts of this thread, and the one bottom half that wakes them. */
const local = new Set<SharedConnection>()
let wakeUp: BottomHalf | undefined

function wakeUpOfThread(): BottomHalf {
  return (wakeUp ??= new BottomHalf(() => {
    for (const part of [...local]) part.look()
  }))
}

const closed = (): NBDError => new NBDError('transport', 'the connection was closed')

export class SharedConnection {
  /** The right to receive. */
  readonly receiving: Role
  /** The right to send. */
  readonly sending: Role
  /** What was received for somebody else; whoever receives may use it. */
  readonly readAhead: ReadAhead
  /** The number of this part. */
  readonly me: number
  readonly handle: SharedConnectionHandle
  /** Called when there is something to look at. */
  onWake: (() => void) | undefined
  readonly #words: Int32Array
  readonly #parts: PartTable
  readonly #slots: RequestSlots
  readonly #reason: EndReason
  #left = false
  #timer: NodeJS.Timeout | undefined

  private constructor(handle: SharedConnectionHandle, words: Int32Array, parts: PartTable, me: number) {
    this.handle = handle
    this.me = me
    this.#words = words
    this.#parts = parts
    this.#slots = new RequestSlots(words, SLOTS, me)
    this.#reason = new EndReason(handle.memory, REASON * WORD)
    this.readAhead = new ReadAhead(handle.readAhead)
    this.receiving = new Role(words, RECEIVING, parts, me, TO_RECEIVE)
    this.sending = new Role(words, SENDING, parts, me, TO_SEND)
    // Whoever has left with this number may have been given them too late.
    this.receiving.decline()
    this.sending.decline()
    local.add(this)
    AioContext.current().ref()
  }

  /**
   * Lets others take part in a connection. The caller is its first part, and nothing is in flight.
   *
   * @param handle whose connection has ended, to become that of this one; absent: a new one
   * @throws NBDError of kind `transport` when it has ended, of kind `request` (EMFILE)
   */
  static begin(channel: QIOChannelSocket, handle = SharedConnection.#allocate()): SharedConnection {
    channel.setFollowCoroutineCtx(true)
    const { fd } = channel.handle()
    const words = new Int32Array(handle.memory)
    words.fill(0, PHASE, REASON)
    words[SOCKET] = fd
    new ReadAhead(handle.readAhead).take()
    const parts = new PartTable(words, PARTS)
    const me = parts.begin(wakeUpOfThread().handle)
    Atomics.add(words, GENERATION, 1)
    aioWaitKick()
    return new SharedConnection(handle, words, parts, me)
  }

  static #allocate(): SharedConnectionHandle {
    const memory = new SharedArrayBuffer(REASON * WORD + REASON_BYTES)
    return { memory, readAhead: ReadAhead.allocate() }
  }

  /** Resolves when nobody takes part any more, or `aborted` says so. */
  static async vacated({ memory }: SharedConnectionHandle, aborted: () => boolean): Promise<void> {
    const words = new Int32Array(memory)
    const parts = new PartTable(words, PARTS)
    const timer = setInterval(aioWaitKick, LOOK_FOR_DEAD_MS)
    await aioWaitWhile(() => {
      if (parts.reap(() => undefined)) closeFd(words[SOCKET]!)
      return parts.count > 0 && !aborted()
    })
    clearInterval(timer)
  }

  /** Counts the connections that the handle has been for. */
  static generation({ memory }: SharedConnectionHandle): number {
    return Atomics.load(new Int32Array(memory), GENERATION)
  }

  /**
   * Resolves when there is another connection.
   *
   * @param generation of the last one that is known
   * @returns false when there will be none, or `aborted` says so
   */
  static async renewed(
    { memory }: SharedConnectionHandle,
    generation: number,
    aborted: () => boolean
  ): Promise<boolean> {
    const words = new Int32Array(memory)
    const isThere = (): boolean => Atomics.load(words, GENERATION) !== generation
    await aioWaitWhile(() => !isThere() && Atomics.load(words, FINAL) === 0 && !aborted())
    return isThere() && !aborted()
  }

  /** There will be no other connection behind this one. */
  static finish({ memory }: SharedConnectionHandle): void {
    Atomics.store(new Int32Array(memory), FINAL, 1)
    aioWaitKick()
  }

  /**
   * Takes part.
   *
   * @returns the part, and a channel of this thread, the caller's to close
   * @throws NBDError of kind `transport` when the connection has ended; of kind `request` (EMFILE), or when there are too
   *   many parts
   */
  static join(handle: SharedConnectionHandle): { part: SharedConnection; channel: QIOChannelSocket } {
    const words = new Int32Array(handle.memory)
    const parts = new PartTable(words, PARTS)
    const me = parts.join(wakeUpOfThread().handle)
    if (me === undefined) {
      const broken = words[PHASE] === BROKEN
      throw broken ? new EndReason(handle.memory, REASON * WORD).get() : closed()
    }
    const part = new SharedConnection(handle, words, parts, me)
    try {
      const { reason } = part
      if (reason) throw reason
      if (part.ending) throw closed()
      // It stays open while somebody takes part.
      return { part, channel: QIOChannelSocket.attach({ fd: duplicateFd(words[SOCKET]!) }) }
    } catch (error) {
      part.leave()
      throw error
    }
  }

  get ending(): boolean {
    return this.#phase === ENDING
  }

  /** Why it is broken; undefined while it is not. */
  get reason(): NBDError | undefined {
    return this.#phase === BROKEN ? this.#reason.get() : undefined
  }

  /** A descriptor that is open while somebody takes part. */
  get socket(): number {
    return this.#words[SOCKET]!
  }

  /** Requests in flight, of all parts. */
  get requests(): number {
    return this.#slots.count
  }

  /**
   * Ends it for all parts.
   *
   * @returns why it is broken: `error`, or what somebody else has met with before
   */
  break(error: NBDError): NBDError {
    for (let i = 0; i < SPINS; i++) {
      const phase = this.#phase
      if (phase === BROKEN) return this.#reason.get()
      if (phase === BREAKING) continue
      if (Atomics.compareExchange(this.#words, PHASE, phase, BREAKING) !== phase) continue
      this.#reason.set(error)
      Atomics.store(this.#words, PHASE, BROKEN)
      this.#parts.wakeOthers(this.me)
      return error
    }
    return error
  }

  /** Lets all others leave when their requests are answered. */
  beginEnd(): void {
    Atomics.compareExchange(this.#words, PHASE, OPEN, ENDING)
    this.#parts.wakeOthers(this.me)
  }

  /**
   * Lets all others leave, and waits for that.
   *
   * @param timeoutMs for them; then it is broken
   */
  async end(timeoutMs: number): Promise<void> {
    this.beginEnd()
    const timer = setTimeout(() => {
      this.break(closed())
      aioWaitKick()
    }, timeoutMs)
    await aioWaitWhile(() => {
      this.#reap()
      return this.#parts.count > 1 && this.#phase !== BROKEN
    })
    clearTimeout(timer)
  }

  /**
   * Takes part no more. Replies that are still to come are the others' to drop.
   *
   * @returns whether it was the last part: nobody else uses the connection any more
   */
  leave(): boolean {
    if (this.#left) return false
    this.#left = true
    clearTimeout(this.#timer)
    local.delete(this)
    AioContext.current().unref()
    this.#slots.orphan(this.me)
    this.#reap()
    this.#parts.depart(this.me)
    this.receiving.decline()
    this.sending.decline()
    // Before it counts: then the memory is free for another connection.
    const socket = this.#words[SOCKET]!
    const wasLast = this.#parts.leave(this.me)
    if (wasLast) closeFd(socket)
    aioWaitKick()
    return wasLast
  }

  /** @returns a cookie below 2^53; undefined when too much is in flight, and then we are woken when that has changed */
  takeCookie(command: Command): number | undefined {
    const cookie = this.#slots.take(command)
    if (cookie !== undefined) return cookie
    this.#parts.want(this.me, A_SLOT)
    const late = this.#slots.take(command)
    if (late !== undefined) this.#parts.unwant(this.me, A_SLOT)
    return late
  }

  /** Its request is answered. */
  freeCookie(cookie: number): void {
    this.#slots.free(cookie)
    for (const part of this.#parts.wanting(A_SLOT, this.me)) {
      this.#parts.unwant(part, A_SLOT)
      if (part === this.me) this.look()
      else this.#parts.wake(part)
    }
  }

  /**
   * Whose request has the cookie.
   *
   * @returns a part that is there, ORPHANED, or NO_PART
   */
  ownerOf(cookie: number): number {
    const owner = this.#slots.ownerOf(cookie)
    if (owner < 0 || owner === this.me || this.#parts.isThere(owner)) return owner
    this.#reap()
    return this.#slots.ownerOf(cookie)
  }

  /** @see RequestSlots.adopt */
  adopt(cookie: number): Command {
    return this.#slots.adopt(cookie)
  }

  /**
   * Something is waited for that others bring about: looks now and then whether they live.
   *
   * @param waits asked whether it goes on
   */
  watch(waits: () => boolean): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      if (!waits()) return
      this.#reap()
      this.watch(waits)
    }, LOOK_FOR_DEAD_MS)
  }

  look(): void {
    this.onWake?.()
  }

  get #phase(): number {
    return Atomics.load(this.#words, PHASE)
  }

  /** Takes those parts out whose threads were ended by force. */
  #reap(): void {
    this.#parts.reap((part) => {
      this.#slots.orphan(part)
      const reading = this.receiving.isOf(part)
      if (!reading && !this.sending.isOf(part)) return
      const what = reading ? 'receiving' : 'sending'
      this.break(new NBDError('transport', `a thread that shared the connection was ended while ${what}`))
      this.look()
    })
  }
}
