/**
 * What the threads that serve one connection share of it: whether it goes on, what is in flight, whose turn it is to
 * receive and to send, and counters that the main thread can read.
 *
 * The main thread makes the memory when it accepts the client; each thread that takes part has a ConnectionState over it.
 */
import type { AioContextHandle } from '../../shared/aio/context-table.ts'
import { CO_MUTEX_WORDS, CoMutexShared } from '../../shared/coroutine/co-mutex-shared.ts'
import { CO_QUEUE_WORDS, CoQueueShared } from '../../shared/coroutine/co-queue-shared.ts'

const PHASE = 0
const PARTS = 1
const REQUESTS = 2
const BYTES = 3
const LIMIT = 4
const HELP = 5
const DEPTH = 6
const WORKING = 7
/** Of the context that received last. */
const RECEIVER = 8
const ROOM = 9
const RECEIVE_LOCK = ROOM + CO_QUEUE_WORDS
const SEND_LOCK = RECEIVE_LOCK + CO_MUTEX_WORDS

// Counters of two words each, the low one first: a BigInt64Array would make garbage of every number.
const REQUESTS_COUNTED = SEND_LOCK + CO_MUTEX_WORDS
const BYTES_COUNTED = REQUESTS_COUNTED + 2
const BATCHES_COUNTED = BYTES_COUNTED + 2
const HAND_OVERS_COUNTED = BATCHES_COUNTED + 2
const WORDS = HAND_OVERS_COUNTED + 2
const LOW_WORD = 2 ** 32

/** Help is wanted. */
const ASKED = 1
/** The main thread has seen that. */
const SEEN = 2

/** Requests are taken. */
const SERVING = 0
/** What is in flight is answered. */
const ENDING = 1
/** A fault has ended it. */
const BROKEN = 2

/** What has happened on a connection since it began. */
export interface ConnectionCounters {
  requests: number
  /** Of payload, read and written. */
  bytes: number
  /** How often requests were taken: one or many at a time. */
  batches: number
  /** How often the turn to receive went to another thread. */
  handOvers: number
}

export class ConnectionState {
  /** Waits for something in flight to end. */
  readonly room: CoQueueShared
  /** Whose turn it is to receive, when several threads take part. */
  readonly receiveLock: CoMutexShared
  /** Whose turn it is to send, when several threads take part. */
  readonly sendLock: CoMutexShared
  readonly #words: Int32Array

  /** @context any-thread; the locks are for coroutines of the thread */
  constructor(memory: SharedArrayBuffer) {
    const words = new Int32Array(memory)
    this.#words = words
    this.room = new CoQueueShared(words, ROOM)
    this.receiveLock = new CoMutexShared(words, RECEIVE_LOCK)
    this.sendLock = new CoMutexShared(words, SEND_LOCK)
  }

  /** @param maxBytes of payload that may be in flight @returns postable memory for one connection, with one thread */
  static allocate(maxBytes: number): SharedArrayBuffer {
    const memory = new SharedArrayBuffer(WORDS * Int32Array.BYTES_PER_ELEMENT)
    const words = new Int32Array(memory)
    words[LIMIT] = maxBytes
    words[PARTS] = 1
    return memory
  }

  get serving(): boolean {
    return this.#load(PHASE) === SERVING
  }

  /** A fault has ended it: nothing more can be received or sent. */
  get broken(): boolean {
    return this.#load(PHASE) === BROKEN
  }

  /** No further request is taken. */
  end(): void {
    Atomics.compareExchange(this.#words, PHASE, SERVING, ENDING)
  }

  /** Nothing more can be received or sent. @returns whether that is news: only then somebody has to report it */
  break(): boolean {
    return Atomics.exchange(this.#words, PHASE, BROKEN) !== BROKEN
  }

  /** Threads that take part. */
  get parts(): number {
    return this.#load(PARTS)
  }

  addPart(): void {
    Atomics.add(this.#words, PARTS, 1)
  }

  removePart(): void {
    Atomics.sub(this.#words, PARTS, 1)
  }

  /** Requests in flight, in all threads. */
  get requests(): number {
    return this.#load(REQUESTS)
  }

  /** Of payload in flight, in all threads. */
  get bytes(): number {
    return this.#load(BYTES)
  }

  /** How many bytes may be in flight. */
  get maxBytes(): number {
    return this.#words[LIMIT]!
  }

  begin(bytes: number): void {
    Atomics.add(this.#words, REQUESTS, 1)
    Atomics.add(this.#words, BYTES, bytes)
  }

  /** A request that `begin` counted has been answered. */
  done(bytes: number): void {
    Atomics.sub(this.#words, BYTES, bytes)
    Atomics.sub(this.#words, REQUESTS, 1)
    if (!this.room.empty) this.room.restartAll()
  }

  /** Asks the main thread for others to take part, once. @returns whether that is news */
  askForHelp(): boolean {
    return Atomics.compareExchange(this.#words, HELP, 0, ASKED) === 0
  }

  /** @returns whether help was asked for, and nobody has looked at that yet @context main */
  takeHelp(): boolean {
    return Atomics.compareExchange(this.#words, HELP, ASKED, SEEN) === ASKED
  }

  /** For how many more requests it is taken for granted that the client sends several at a time. */
  get depth(): number {
    return this.#load(DEPTH)
  }

  set depth(requests: number) {
    Atomics.store(this.#words, DEPTH, requests)
  }

  /** Threads that work on requests without having the turn to receive. */
  get working(): number {
    return this.#load(WORKING)
  }

  beginWork(): void {
    Atomics.add(this.#words, WORKING, 1)
  }

  endWork(): void {
    Atomics.sub(this.#words, WORKING, 1)
  }

  /**
   * Takes note of who receives now; for the holder of the receive lock.
   *
   * @returns whether that was another thread before
   */
  setReceiver(context: AioContextHandle): boolean {
    const before = Atomics.exchange(this.#words, RECEIVER, context)
    return before !== context
  }

  countBatch(requests: number, bytes: number): void {
    this.#count(BATCHES_COUNTED, 1)
    this.#count(REQUESTS_COUNTED, requests)
    this.#count(BYTES_COUNTED, bytes)
  }

  countHandOver(): void {
    this.#count(HAND_OVERS_COUNTED, 1)
  }

  /** @context any-thread */
  get counters(): ConnectionCounters {
    const counter = (low: number): number => this.#load(low + 1) * LOW_WORD + (this.#load(low) >>> 0)
    return {
      requests: counter(REQUESTS_COUNTED),
      bytes: counter(BYTES_COUNTED),
      batches: counter(BATCHES_COUNTED),
      handOvers: counter(HAND_OVERS_COUNTED)
    }
  }

  #load(word: number): number {
    return Atomics.load(this.#words, word)
  }

  /** @param low the counter's low word */
  #count(low: number, n: number): void {
    const sum = (Atomics.add(this.#words, low, n) >>> 0) + n
    if (sum >= LOW_WORD) Atomics.add(this.#words, low + 1, Math.floor(sum / LOW_WORD))
  }
}
