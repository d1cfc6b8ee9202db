/**
 * Chunks of structured replies: which are legal where, and what is in them. What a server must not send ends the
 * connection, except for error chunks: they only fail their request, also those that are yet to be invented.
 *
 * @see doc/proto.md "Structured reply types"
 */
import { protocolError, type NBDError } from '../../shared/errors/nbd-error.ts'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_READ,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_ERROR_OFFSET,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE
} from '../../shared/protocol/constants.ts'
import { NBD_MAX_STRING_SIZE } from '../../shared/protocol/limits.ts'
import {
  NBD_CHUNK_CONTEXT_SIZE,
  NBD_CHUNK_ERROR_SIZE,
  NBD_CHUNK_OFFSET_SIZE,
  NBD_EXTENT_SIZE,
  type Chunk
} from '../../shared/protocol/messages/structured-chunk.ts'
import { printable } from '../../shared/config/printable.ts'
import type { MetaContexts } from '../negotiation/negotiated.ts'
import { NBD_MAX_ERROR_CHUNK_SIZE, NBD_MAX_STATUS_CHUNK_SIZE } from './limits.ts'
import { describe, type PendingRequest } from './pending-request.ts'
import { replyError } from './reply-error.ts'
import {
  STATE_CONTEXT,
  STATE_ERROR,
  STATE_HOLE,
  STATE_OFFSET,
  STATE_REPLY,
  type ReplyState
} from './states.ts'

/** Bit 15 marks every type of chunk that tells an error. */
const ERROR_BIT = 0x8000
/** Payload of OFFSET_HOLE: offset, length of the hole. */
export const HOLE_SIZE = NBD_CHUNK_OFFSET_SIZE + 4

/**
 * What follows the header of a chunk.
 *
 * @throws NBDError of kind `protocol` when such a chunk cannot be part of a reply to the request
 */
export function stateAfterHeader({ type, flags, length }: Chunk, { command }: PendingRequest): ReplyState {
  const wrong = (why: string): NBDError =>
    protocolError(`chunk of type ${type} in the reply to ${describe(command)}: ${why}`)
  const expect = (legal: boolean, state: ReplyState): ReplyState => {
    if (!legal) throw wrong(`a payload of ${length} bytes`)
    return state
  }
  if ((type & ERROR_BIT) !== 0) {
    const least = NBD_CHUNK_ERROR_SIZE + (type === NBD_REPLY_TYPE_ERROR_OFFSET ? NBD_CHUNK_OFFSET_SIZE : 0)
    return expect(length >= least && length <= NBD_MAX_ERROR_CHUNK_SIZE, STATE_ERROR)
  }
  if (type === NBD_REPLY_TYPE_NONE) {
    if ((flags & NBD_REPLY_FLAG_DONE) === 0) throw wrong('it must be the last one')
    return expect(length === 0, STATE_REPLY)
  }
  if (type === NBD_REPLY_TYPE_OFFSET_DATA && command.type === NBD_CMD_READ)
    return expect(length > NBD_CHUNK_OFFSET_SIZE, STATE_OFFSET)
  if (type === NBD_REPLY_TYPE_OFFSET_HOLE && command.type === NBD_CMD_READ)
    return expect(length === HOLE_SIZE, STATE_HOLE)
  if (type === NBD_REPLY_TYPE_BLOCK_STATUS && command.type === NBD_CMD_BLOCK_STATUS) {
    const extents = length - NBD_CHUNK_CONTEXT_SIZE
    const legal = extents > 0 && extents % NBD_EXTENT_SIZE === 0 && length <= NBD_MAX_STATUS_CHUNK_SIZE
    return expect(legal, STATE_CONTEXT)
  }
  throw wrong('it does not belong there')
}

/** The 64-bit number at `at`; Infinity when it is beyond 2^53 - 1, so that every bound refuses it. */
function offsetAt(buf: Buffer, at: number): number {
  const high = buf.readUInt32BE(at)
  return high < 0x200000 ? high * 0x100000000 + buf.readUInt32BE(at + 4) : Infinity
}

/**
 * Takes note of where `length` bytes of a READ belong.
 *
 * @returns their place in the request
 * @throws NBDError of kind `protocol`
 */
export function placeOf(request: PendingRequest, buf: Buffer, at: number, length: number): number {
  const { command, coverage } = request
  const start = offsetAt(buf, at) - command.offset
  const problem = coverage!.add(start, start + length)
  if (problem !== undefined) {
    const chunk = `chunk of ${length} bytes at ${start + command.offset}`
    throw protocolError(`${chunk} in the reply to ${describe(command)} ${problem}`)
  }
  return start
}

/** @throws NBDError of kind `protocol` */
export function takeHole(request: PendingRequest, buf: Buffer, at: number): void {
  const length = buf.readUInt32BE(at + NBD_CHUNK_OFFSET_SIZE)
  if (length === 0) throw protocolError(`a hole without length in the reply to ${describe(request.command)}`)
  const place = placeOf(request, buf, at, length)
  request.command.target?.zero(place, place + length)
}

/**
 * @param contexts that were negotiated
 * @returns where the extents go
 * @throws NBDError of kind `protocol`
 */
export function takeContext(
  request: PendingRequest,
  buf: Buffer,
  at: number,
  contexts: MetaContexts
): number[] {
  const id = buf.readUInt32BE(at)
  const context = contexts.get(id)
  if (context === undefined)
    throw protocolError(`status of context ${id}, which was not negotiated, for ${describe(request.command)}`)
  if (request.status.has(context))
    throw protocolError(`status of context ${id} twice for ${describe(request.command)}`)
  const extents: number[] = []
  request.status.set(context, extents)
  return extents
}

/**
 * Takes an extent; what lies behind the request is not asked for, and not kept.
 *
 * @param extents of the context that the chunk is about
 * @param covered sum of the lengths of the extents before it
 * @returns its length
 * @throws NBDError of kind `protocol`
 */
export function takeExtent(
  { command }: PendingRequest,
  extents: number[],
  buf: Buffer,
  at: number,
  covered: number
): number {
  const length = buf.readUInt32BE(at)
  // Who goes on behind it would not get anywhere.
  if (length === 0) throw protocolError(`an extent without length for ${describe(command)}`)
  if (covered < command.length) extents.push(length, buf.readUInt32BE(at + 4))
  return length
}

/**
 * Takes the `length` bytes of an error chunk's payload.
 *
 * @throws NBDError of kind `protocol` when the text does not fit
 */
export function takeError(
  request: PendingRequest,
  type: number,
  buf: Buffer,
  at: number,
  length: number
): void {
  const { command } = request
  const error = buf.readUInt32BE(at)
  const textLength = buf.readUInt16BE(at + 4)
  const text = at + NBD_CHUNK_ERROR_SIZE
  const hasOffset = type === NBD_REPLY_TYPE_ERROR_OFFSET
  const room = length - NBD_CHUNK_ERROR_SIZE - (hasOffset ? NBD_CHUNK_OFFSET_SIZE : 0)
  if (textLength > room || textLength > NBD_MAX_STRING_SIZE) {
    throw protocolError(`error text of ${textLength} bytes in a chunk of ${length} for ${describe(command)}`)
  }
  const message = printable(buf.subarray(text, text + textLength)).trim()
  const place = hasOffset ? `at ${offsetAt(buf, text + textLength)}` : ''
  // The first one is told; others are mostly its consequences.
  request.error ??= replyError(command, error, [message, place].filter((part) => part !== '').join(' '))
}
