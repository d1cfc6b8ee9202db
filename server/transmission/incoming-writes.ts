/**
 * The payloads of WRITEs on their way in: written from the window they came to when that needs no waiting, or received
 * where they will be written from.
 *
 * @context the IOThread of its receive loop
 */
import type { CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { protocolError } from '../../shared/errors/nbd-error.ts'
import { giveMemory, takeMemory } from '../../shared/io/memory-pool.ts'
import { WINDOW_SIZE } from '../../shared/io/receive-window.ts'
import type { WindowReader } from '../../shared/io/window-reader.ts'
import { NBD_MAX_BUFFER_SIZE, NBD_MAX_DRAIN_SIZE } from '../../shared/protocol/limits.ts'
import { nbdCmdLookup } from '../../shared/protocol/lookup.ts'
import type { NBDRequest } from '../../shared/protocol/messages/request.ts'
import { NBD_MODE_EXTENDED } from '../../shared/protocol/nbd-mode.ts'
import type { Memory } from '../../shared/syscall/memory.ts'
import { cmdWrite, cmdWriteNowait } from './cmd-write.ts'
import { payloadTurns, type PayloadTurn } from './payload-turns.ts'
import { replyRefusal } from './reply-failure.ts'
import type { RequestsInFlight } from './requests-in-flight.ts'
import type { Transmission } from './transmission.ts'
import type { RequestError } from './validate-request.ts'

export class IncomingWrites {
  readonly #transmission: Transmission
  readonly #reader: WindowReader
  readonly #inFlight: RequestsInFlight
  readonly #turns = payloadTurns()

  constructor(transmission: Transmission, reader: WindowReader, inFlight: RequestsInFlight) {
    this.#transmission = transmission
    this.#reader = reader
    this.#inFlight = inFlight
  }

  /** Whether the window holds all of its payload; as far as it has room for that, the rest is received first. */
  isThere({ length }: NBDRequest): boolean {
    const { window } = this.#reader
    if (length <= window.length) return true
    if (length > WINDOW_SIZE) return false
    // The client does not wait for what is answered until this is there.
    this.#transmission.writer.flush()
    return this.#reader.fill(length)
  }

  /** Takes a WRITE whose payload is in the window. @param request is reused when this returns */
  fromWindow(request: NBDRequest, refused: RequestError | undefined): void {
    const { window } = this.#reader
    const at = window.start
    window.start += request.length
    if (refused) {
      replyRefusal(this.#transmission, request, refused)
      return
    }
    if (cmdWriteNowait(this.#transmission, request, window.memory.address + at)) return
    const memory = takeMemory(request.length)
    window.memory.buffer.copy(memory.buffer, 0, at, at + request.length)
    this.#start({ ...request }, memory)
  }

  /**
   * A WRITE whose payload is still to come, at least in part.
   *
   * @param request is reused when this returns
   * @returns receives the rest; throws NBDError of kind `protocol` or `transport`
   */
  whenReceived(request: NBDRequest, refused: RequestError | undefined): () => CoroutineFn {
    const { window } = this.#reader
    const copy = { ...request }
    if (refused) {
      this.#reader.unread()
      return () => this.#drain(copy, refused)
    }
    const turn = this.#turns.begin(copy.length)
    if (!turn) {
      this.#reader.unread()
      return () => this.#receiveInTurn(copy)
    }
    const memory = takeMemory(copy.length)
    const there = window.length
    window.memory.buffer.copy(memory.buffer, 0, window.start, window.end)
    window.clear()
    return () => this.#receive(copy, memory, there, turn)
  }

  *#receiveInTurn(request: NBDRequest): CoroutineFn {
    const turn = yield* this.#turns.wait(request.length)
    yield* this.#receive(request, takeMemory(request.length), 0, turn)
  }

  *#receive(request: NBDRequest, memory: Memory, there: number, turn: PayloadTurn): CoroutineFn {
    const { gate } = this.#transmission.exp
    try {
      try {
        yield* this.#reader.readAll(memory, there, request.length)
      } finally {
        this.#turns.end(turn)
      }
      if (request.length > WINDOW_SIZE) this.#reader.expectLarge()
      while (!gate.tryEnter()) yield* gate.untilOpen()
    } catch (error) {
      giveMemory(memory)
      throw error
    }
    try {
      if (cmdWriteNowait(this.#transmission, request, memory.address)) {
        giveMemory(memory)
        this.#transmission.writer.flush()
      } else {
        this.#start(request, memory)
      }
    } finally {
      gate.leave()
    }
  }

  #start(request: NBDRequest, memory: Memory): void {
    const transmission = this.#transmission
    const write = function* (): CoroutineFn {
      try {
        yield* cmdWrite(transmission, request, memory, 0)
      } finally {
        giveMemory(memory)
      }
    }
    this.#inFlight.start(request, request.length, write())
  }

  /** What is refused is answered when its payload is out of the way. */
  *#drain(request: NBDRequest, refusal: RequestError): CoroutineFn {
    const most = this.#transmission.mode === NBD_MODE_EXTENDED ? NBD_MAX_BUFFER_SIZE : NBD_MAX_DRAIN_SIZE
    if (request.length > most) throw protocolError(`${nbdCmdLookup(request.type)} of ${request.length} bytes`)
    yield* this.#reader.discard(request.length)
    replyRefusal(this.#transmission, request, refusal)
    this.#transmission.writer.flush()
  }
}
