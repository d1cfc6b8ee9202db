/**
 * Takes the stream of replies apart, in whatever pieces it comes, and settles the requests that they answer. Knows
 * nothing of sockets.
 *
 * @see states.ts
 */
import { protocolError } from '../../shared/errors/nbd-error.ts'
import {
  NBD_CMD_READ,
  NBD_EXTENDED_REPLY_MAGIC,
  NBD_OK,
  NBD_REPLY_FLAG_DONE,
  NBD_SIMPLE_REPLY_MAGIC,
  NBD_STRUCTURED_REPLY_MAGIC
} from '../../shared/protocol/constants.ts'
import {
  decodeExtendedChunk,
  NBD_EXTENDED_CHUNK_SIZE
} from '../../shared/protocol/messages/extended-chunk.ts'
import { decodeSimpleReply, NBD_SIMPLE_REPLY_SIZE } from '../../shared/protocol/messages/simple-reply.ts'
import {
  decodeChunk,
  NBD_CHUNK_OFFSET_SIZE,
  NBD_CHUNK_SIZE,
  type Chunk
} from '../../shared/protocol/messages/structured-chunk.ts'
import {
  NBD_MODE_EXTENDED,
  NBD_MODE_SIMPLE,
  NBD_MODE_STRUCTURED,
  type NBDMode
} from '../../shared/protocol/nbd-mode.ts'
import type { MetaContexts } from '../negotiation/negotiated.ts'
import type { CookieTable } from './cookie-table.ts'
import { describe, type PendingRequest } from './pending-request.ts'
import { HOLE_SIZE, placeOf, stateAfterHeader, takeError, takeHole } from './reply-chunk.ts'
import type { DirectData } from './read-target.ts'
import { replyError } from './reply-error.ts'
import {
  STATE_CONTEXT,
  STATE_DATA,
  STATE_ERROR,
  STATE_EXTENTS,
  STATE_HOLE,
  STATE_OFFSET,
  STATE_REPLY,
  type ReplyState
} from './states.ts'
import {
  checkExtentCount,
  COMPACT_STATUS,
  EXTENDED_STATUS,
  takeContext,
  takeExtendedExtent,
  takeExtent,
  type StatusForm
} from './status-chunk.ts'

const MAGIC_SIZE = 4
export class ReplyParser {
  readonly #table: CookieTable
  readonly #mode: NBDMode
  readonly #status: StatusForm
  readonly #contexts: MetaContexts
  #state: ReplyState = STATE_REPLY
  // Of the reply or chunk that has begun:
  #request: PendingRequest | undefined
  #type = 0
  #isLast = true
  /** Bytes of payload that are still to come. */
  #left = 0
  /** Where in the request the next byte of data belongs. */
  #at = 0
  /** Of the context that the chunk is about. */
  #extents: number[] = []
  /** Bytes that the extents so far describe. */
  #covered = 0
  #elsewhere: number | undefined

  /** @param mode what was negotiated: no other form of replies is taken */
  constructor(table: CookieTable, mode: NBDMode, contexts: MetaContexts) {
    this.#table = table
    this.#mode = mode
    this.#status = mode === NBD_MODE_EXTENDED ? EXTENDED_STATUS : COMPACT_STATUS
    this.#contexts = contexts
  }

  /** STATE_REPLY between two replies, or two chunks. */
  get state(): ReplyState {
    return this.#state
  }

  /** Why it consumed no more: the next reply is for this other part of the connection. */
  get elsewhere(): number | undefined {
    return this.#elsewhere
  }

  /**
   * When all that was received is consumed: what may be received by other means, in one piece, followed by
   * `directReceived`. To be asked again after every wait: the buffer may have gone back to its owner.
   */
  get direct(): DirectData | undefined {
    if (this.#state !== STATE_DATA) return undefined
    return this.#request!.command.target?.direct(this.#at, this.#left)
  }

  /** So many of the `direct` data have been received. @throws NBDError of kind `protocol` */
  directReceived(length: number): void {
    this.#at += length
    this.#left -= length
    if (this.#left === 0) this.#endPayload()
  }

  /**
   * Takes what it can of the bytes from `start` to `end`.
   *
   * @returns where it stopped; the caller brings more behind what is left, which is always less than 16 KiB
   * @throws NBDError of kind `protocol`; the stream is then out of step for good
   */
  consume(buf: Buffer, start: number, end: number): number {
    this.#elsewhere = undefined
    for (let at = start; ;) {
      const next = this.#step(buf, at, end)
      if (next === at) return at
      at = next
    }
  }

  /** @returns the position behind what it took; `at` when there is not enough */
  #step(buf: Buffer, at: number, end: number): number {
    const there = end - at
    switch (this.#state) {
      case STATE_REPLY:
        return this.#takeHeader(buf, at, there)
      case STATE_DATA:
        return this.#takeData(buf, at, Math.min(this.#left, there))
      case STATE_EXTENTS:
        return this.#takeExtents(buf, at, Math.min(this.#left, there))
      case STATE_OFFSET:
        if (there < NBD_CHUNK_OFFSET_SIZE) return at
        this.#left -= NBD_CHUNK_OFFSET_SIZE
        this.#at = placeOf(this.#request!, buf, at, this.#left)
        this.#state = STATE_DATA
        return at + NBD_CHUNK_OFFSET_SIZE
      case STATE_HOLE:
        if (there < HOLE_SIZE) return at
        takeHole(this.#request!, buf, at)
        this.#endPayload()
        return at + HOLE_SIZE
      case STATE_CONTEXT:
        return there < this.#status.contextSize ? at : this.#takeContext(buf, at)
      case STATE_ERROR:
        if (there < this.#left) return at
        takeError(this.#request!, this.#type, buf, at, this.#left)
        this.#endPayload()
        return at + this.#left
    }
  }

  #takeHeader(buf: Buffer, at: number, there: number): number {
    if (there < MAGIC_SIZE) return at
    const magic = buf.readUInt32BE(at)
    if (this.#mode === NBD_MODE_EXTENDED) {
      if (magic !== NBD_EXTENDED_REPLY_MAGIC)
        throw protocolError(`wrong reply magic 0x${magic.toString(16)}: extended headers were negotiated`)
      if (there < NBD_EXTENDED_CHUNK_SIZE) return at
      return this.#takeExtendedChunk(buf, at) ? at + NBD_EXTENDED_CHUNK_SIZE : at
    }
    if (magic === NBD_SIMPLE_REPLY_MAGIC) {
      if (there < NBD_SIMPLE_REPLY_SIZE) return at
      return this.#takeSimpleReply(buf, at) ? at + NBD_SIMPLE_REPLY_SIZE : at
    }
    if (magic === NBD_STRUCTURED_REPLY_MAGIC && this.#mode === NBD_MODE_STRUCTURED) {
      if (there < NBD_CHUNK_SIZE) return at
      const chunk = decodeChunk(buf, at)!
      const request = this.#find(chunk.cookieHigh, chunk.cookieLow)
      if (!request) return at
      this.#takeChunk(chunk, request)
      return at + NBD_CHUNK_SIZE
    }
    const why = magic === NBD_STRUCTURED_REPLY_MAGIC ? ': structured replies were not negotiated' : ''
    throw protocolError(`wrong reply magic 0x${magic.toString(16)}${why}`)
  }

  /** @returns false when it is another's */
  #takeSimpleReply(buf: Buffer, at: number): boolean {
    const { error, cookieHigh, cookieLow } = decodeSimpleReply(buf, at)!
    const request = this.#find(cookieHigh, cookieLow)
    if (!request) return false
    const { command } = request
    this.#isLast = true
    if (error === NBD_OK && command.type === NBD_CMD_READ) {
      // Whether data follow cannot be known.
      if (this.#mode !== NBD_MODE_SIMPLE) throw protocolError(`a simple reply to ${describe(command)}`)
      request.coverage!.add(0, command.length)
      this.#at = 0
      this.#left = command.length
      this.#state = STATE_DATA
      return true
    }
    if (error !== NBD_OK) request.error ??= replyError(command, error, '')
    this.#endPayload()
    return true
  }

  /** @returns false when it is another's */
  #takeExtendedChunk(buf: Buffer, at: number): boolean {
    const chunk = decodeExtendedChunk(buf, at)!
    const request = this.#find(chunk.cookieHigh, chunk.cookieLow)
    if (!request) return false
    const { command } = request
    if (chunk.offset !== command.offset)
      throw protocolError(`a chunk with the offset ${chunk.offset} in the reply to ${describe(command)}`)
    this.#takeChunk(chunk, request)
    return true
  }

  #takeChunk(chunk: Chunk, request: PendingRequest): void {
    this.#type = chunk.type
    this.#isLast = (chunk.flags & NBD_REPLY_FLAG_DONE) !== 0
    this.#left = chunk.length
    this.#state = stateAfterHeader(chunk, request, this.#status)
    if (chunk.length === 0) this.#endPayload()
  }

  /** @returns undefined when it is another's */
  #find(cookieHigh: number, cookieLow: number): PendingRequest | undefined {
    const request = this.#table.find(cookieHigh, cookieLow)
    if (typeof request === 'number') {
      this.#elsewhere = request
      return undefined
    }
    if (!request) {
      const hex = [cookieHigh, cookieLow].map((half) => half.toString(16).padStart(8, '0')).join('')
      throw protocolError(`a reply with the cookie 0x${hex}, for which no request is in flight`)
    }
    this.#request = request
    return request
  }

  #takeData(buf: Buffer, at: number, length: number): number {
    // Nowhere, when the call was given up.
    this.#request!.command.target?.write(this.#at, buf, at, at + length)
    this.#at += length
    this.#left -= length
    if (this.#left === 0) this.#endPayload()
    return at + length
  }

  #takeContext(buf: Buffer, at: number): number {
    const { contextSize } = this.#status
    this.#extents = takeContext(this.#request!, buf, at, this.#contexts)
    if (this.#mode === NBD_MODE_EXTENDED) checkExtentCount(this.#request!, buf, at, this.#left)
    this.#left -= contextSize
    this.#covered = 0
    this.#state = STATE_EXTENTS
    return at + contextSize
  }

  #takeExtents(buf: Buffer, at: number, there: number): number {
    const { extentSize } = this.#status
    const take = this.#mode === NBD_MODE_EXTENDED ? takeExtendedExtent : takeExtent
    const end = at + there - (there % extentSize)
    for (let extent = at; extent < end; extent += extentSize)
      this.#covered += take(this.#request!, this.#extents, buf, extent, this.#covered)
    this.#left -= end - at
    if (this.#left === 0) this.#endPayload()
    return end
  }

  /** A reply's or a chunk's payload is complete; with it perhaps the request. */
  #endPayload(): void {
    this.#state = STATE_REPLY
    const request = this.#request!
    this.#request = undefined
    if (!this.#isLast) return
    const missing = request.settle(this.#contexts)
    // Still in the table, so that it fails with the connection.
    if (missing !== undefined)
      throw protocolError(`the reply to ${describe(request.command)} ends, but ${missing}`)
    this.#table.remove(request)
  }
}
