/**
 * Chunks of structured and extended replies: which are legal where, and what is in them. What a server must not send ends the
 * connection, except for error chunks: they only fail their request, also those that are yet to be invented.
 *
 * @see doc/proto.md "Structured reply types"
 */
import { protocolError, type NBDError } from '../../shared/errors/nbd-error.ts'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_READ,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_ERROR_OFFSET,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE
} from '../../shared/protocol/constants.ts'
import { NBD_MAX_STRING_SIZE } from '../../shared/protocol/limits.ts'
import {
  NBD_CHUNK_ERROR_SIZE,
  NBD_CHUNK_OFFSET_SIZE,
  type Chunk
} from '../../shared/protocol/messages/structured-chunk.ts'
import { readUint64 } from '../../shared/protocol/uint64.ts'
import { printable } from '../../shared/config/printable.ts'
import { NBD_MAX_ERROR_CHUNK_SIZE } from './limits.ts'
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
import type { StatusForm } from './status-chunk.ts'

/** Bit 15 marks every type of chunk that tells an error. */
const ERROR_BIT = 0x8000
/** Payload of OFFSET_HOLE: offset, length of the hole. */
export const HOLE_SIZE = NBD_CHUNK_OFFSET_SIZE + 4

/**
 * What follows the header of a chunk.
 *
 * @param status as it was negotiated
 * @throws NBDError of kind `protocol` when such a chunk cannot be part of a reply to the request
 */
export function stateAfterHeader(
  { type, flags, length }: Chunk,
  { command }: PendingRequest,
  status: StatusForm
): ReplyState {
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
  if (type === status.type && command.type === NBD_CMD_BLOCK_STATUS) {
    const extents = length - status.contextSize
    const legal = extents > 0 && extents % status.extentSize === 0 && length <= status.max
    return expect(legal, STATE_CONTEXT)
  }
  throw wrong('it does not belong there')
}

/**
 * Takes note of where `length` bytes of a READ belong.
 *
 * @returns their place in the request
 * @throws NBDError of kind `protocol`
 */
export function placeOf(request: PendingRequest, buf: Buffer, at: number, length: number): number {
  const { command, coverage } = request
  const start = readUint64(buf, at) - command.offset
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
  const place = hasOffset ? `at ${readUint64(buf, text + textLength)}` : ''
  // The first one is told; others are mostly its consequences.
  request.error ??= replyError(command, error, [message, place].filter((part) => part !== '').join(' '))
}
