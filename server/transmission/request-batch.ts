/**
 * The requests that one receive has brought: taken one after the other, and served on the spot as far as nothing has to be
 * waited for.
 *
 * @context the IOThread of its receive loop
 */
import { Coroutine, type CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { protocolError } from '../../shared/errors/nbd-error.ts'
import type { WindowReader } from '../../shared/io/window-reader.ts'
import { currentProperties } from '../../shared/iothread/current-properties.ts'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_CACHE,
  NBD_CMD_DISC,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE_ZEROES
} from '../../shared/protocol/constants.ts'
import { newRequest, type NBDRequest } from '../../shared/protocol/messages/request.ts'
import { cmdBlockStatus } from './cmd-block-status.ts'
import { cmdCache } from './cmd-cache.ts'
import { cmdFlush } from './cmd-flush.ts'
import { cmdRead } from './cmd-read.ts'
import { cmdTrim } from './cmd-trim.ts'
import { cmdWriteZeroes } from './cmd-write-zeroes.ts'
import type { ConnectionState } from './connection-state.ts'
import { IncomingWrites } from './incoming-writes.ts'
import { replyRefusal } from './reply-failure.ts'
import { requestForm, type RequestForm } from './request-form.ts'
import type { RequestsInFlight } from './requests-in-flight.ts'
import { countBatch } from './thread-counters.ts'
import type { Transmission } from './transmission.ts'
import type { Turns } from './turns.ts'
import { validateRequest, type Served } from './validate-request.ts'

/** Commands without payload whose work always goes through a coroutine. */
const commands = new Map<number, (transmission: Transmission, request: NBDRequest) => CoroutineFn>([
  [NBD_CMD_FLUSH, cmdFlush],
  [NBD_CMD_TRIM, cmdTrim],
  [NBD_CMD_CACHE, cmdCache],
  [NBD_CMD_WRITE_ZEROES, cmdWriteZeroes],
  [NBD_CMD_BLOCK_STATUS, cmdBlockStatus]
])

/** How long one batch keeps the other connections of its thread waiting, in ms; and how many requests go by unlooked at. */
export const MAX_BATCH_MS = 2
const LOOK_EVERY = 8
/**
 * How many more must be there, by their headers, for another heavy request of a connection that several threads serve to join
 * the batch: a reply waits for others to go along only while nobody waits for what the client will send then.
 */
const MORE_THERE = 2

/** Until the thread's loop has turned: sockets and bottom halves come first. */
export function* nextTurn(): CoroutineFn {
  Coroutine.current!.schedule()
  yield* Coroutine.yield()
}

/** Of what a batch is taken, and where to. */
export interface BatchParts {
  transmission: Transmission
  served: Served
  state: ConnectionState
  reader: WindowReader
  turns: Turns
  inFlight: RequestsInFlight
  /** Other threads could take part. */
  mayShare: boolean
  /** Requests are taken. */
  goesOn: () => boolean
}

/** How much a batch was. */
export interface BatchSize {
  requests: number
  /** Bytes that they were, with payloads. */
  received: number
  /** Of payload that was asked for. */
  sent: number
}

export class RequestBatch implements Readonly<BatchSize> {
  readonly #parts: BatchParts
  readonly #writes: IncomingWrites
  readonly #form: RequestForm
  /** The request that is being looked at; whoever outlives the look has copied it. */
  readonly #request = newRequest()
  // Of the batch that is being taken, or was taken last:
  #began = 0
  #requests = 0
  #bytes = 0
  #received = 0
  #sent = 0

  constructor(parts: BatchParts) {
    this.#parts = parts
    this.#form = requestForm(parts.transmission.mode)
    this.#writes = new IncomingWrites(parts.transmission, parts.reader, parts.inFlight)
  }

  /** How many the last batch was of. */
  get requests(): number {
    return this.#requests
  }

  /** As of the last batch. */
  get received(): number {
    return this.#received
  }

  /** As of the last batch. */
  get sent(): number {
    return this.#sent
  }

  /**
   * Takes the requests that are in the window, and counts them.
   *
   * @returns what must be waited for before the next receive; until that is called the window is still ours
   * @throws NBDError of kind `protocol`
   */
  take(): (() => CoroutineFn) | undefined {
    this.#began = performance.now()
    this.#requests = this.#bytes = this.#received = this.#sent = 0
    try {
      return this.#take()
    } finally {
      if (this.#requests > 0) this.#count()
    }
  }

  #count(): void {
    const { state, turns, mayShare } = this.#parts
    if (mayShare) turns.measure(performance.now() - this.#began, this.#requests)
    state.countBatch(this.#requests, this.#bytes)
    countBatch(this.#requests, this.#bytes)
  }

  #take(): (() => CoroutineFn) | undefined {
    const { reader, inFlight, turns, mayShare, served, goesOn } = this.#parts
    const { window } = reader
    const { size, magic, decode, hasPayload } = this.#form
    const request = this.#request
    while (window.length >= size && goesOn()) {
      if (this.#isLong()) {
        reader.unread()
        return nextTurn
      }
      if (inFlight.isFull) {
        reader.unread()
        return () => inFlight.waitForRoom(goesOn)
      }
      const { buffer } = window.memory
      if (!decode(buffer, window.start, request)) {
        const found = buffer.readUInt32BE(window.start).toString(16)
        throw protocolError(`wrong request magic 0x${found}, not 0x${magic.toString(16)}`)
      }
      window.start += size
      this.#requests++
      this.#received += size
      if (hasPayload(request)) {
        const refused = validateRequest(request, served)
        if (!refused) this.#bytes += request.length
        this.#received += request.length
        if (!this.#writes.isThere(request)) return this.#writes.whenReceived(request, refused)
        if (mayShare) turns.passOn(window.start + request.length)
        this.#writes.fromWindow(request, refused)
      } else {
        if (mayShare && request.type !== NBD_CMD_DISC) turns.passOn(window.start)
        this.#dispatch()
      }
    }
    return undefined
  }

  /** The batch is at its end: others of this thread get their turn. */
  #isLong(): boolean {
    const requests = this.#requests
    if (requests === 0) return false
    const most = currentProperties()['aio-max-batch']
    if (most > 0 && requests >= most) return true
    const { turns, reader } = this.#parts
    if (turns.heavy) {
      if (reader.window.length < MORE_THERE * this.#form.size) return true
    } else if (requests % LOOK_EVERY !== 0) {
      return false
    }
    return performance.now() - this.#began > MAX_BATCH_MS
  }

  #dispatch(): void {
    const { transmission, state, inFlight, served } = this.#parts
    const request = this.#request
    if (request.type === NBD_CMD_DISC) {
      state.end()
      return
    }
    const refused = validateRequest(request, served)
    if (refused) {
      replyRefusal(transmission, request, refused)
    } else if (request.type === NBD_CMD_READ) {
      this.#bytes += request.length
      this.#sent += request.length
      const later = cmdRead(transmission, request)
      if (later) inFlight.start({ ...request }, request.length, later)
    } else {
      const copy = { ...request }
      inFlight.start(copy, 0, commands.get(request.type)!(transmission, copy))
    }
  }
}
