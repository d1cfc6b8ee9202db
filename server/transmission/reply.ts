/**
 * The replies of both forms, simple and structured, built in the writer's arena.
 *
 * @see doc/proto.md "Simple reply message", "Structured reply chunk message"
 */
import {
  NBD_CMD_READ,
  NBD_OK,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_ERROR,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA
} from '../../shared/protocol/constants.ts'
import type { NBDRequest } from '../../shared/protocol/messages/request.ts'
import { encodeSimpleReply, NBD_SIMPLE_REPLY_SIZE } from '../../shared/protocol/messages/simple-reply.ts'
import {
  encodeChunk,
  encodeChunkError,
  encodeChunkOffset,
  NBD_CHUNK_CONTEXT_SIZE,
  NBD_CHUNK_ERROR_SIZE,
  NBD_CHUNK_OFFSET_SIZE,
  NBD_CHUNK_SIZE,
  NBD_EXTENT_SIZE
} from '../../shared/protocol/messages/structured-chunk.ts'
import { encodeTruncated } from '../../shared/protocol/string.ts'
import type { BlockExtent } from '../../shared/block/block-node.ts'
import type { ReplyWriter } from './reply-writer.ts'

/** Bytes in front of the data of a successful READ. */
export const readHeaderSize = (structured: boolean): number =>
  structured ? NBD_CHUNK_SIZE + NBD_CHUNK_OFFSET_SIZE : NBD_SIMPLE_REPLY_SIZE

/** Writes what stands in front of the `request.length` bytes of a successful READ. */
export function encodeReadHeader(buf: Buffer, at: number, request: NBDRequest, structured: boolean): void {
  const { cookieHigh, cookieLow, offset, length } = request
  if (!structured) {
    encodeSimpleReply(buf, at, NBD_OK, cookieHigh, cookieLow)
    return
  }
  const type = NBD_REPLY_TYPE_OFFSET_DATA
  encodeChunk(buf, at, NBD_REPLY_FLAG_DONE, type, cookieHigh, cookieLow, NBD_CHUNK_OFFSET_SIZE + length)
  encodeChunkOffset(buf, at + NBD_CHUNK_SIZE, offset)
}

/** Success without data. */
export function replyDone(writer: ReplyWriter, request: NBDRequest, structured: boolean): void {
  const { cookieHigh, cookieLow } = request
  // A simple reply is legal to all but READ, and shorter.
  if (structured && request.type === NBD_CMD_READ) {
    const { memory, end } = writer.reserve(NBD_CHUNK_SIZE)
    encodeChunk(memory.buffer, end, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_NONE, cookieHigh, cookieLow, 0)
    writer.commit(NBD_CHUNK_SIZE)
    return
  }
  const { memory, end } = writer.reserve(NBD_SIMPLE_REPLY_SIZE)
  encodeSimpleReply(memory.buffer, end, NBD_OK, cookieHigh, cookieLow)
  writer.commit(NBD_SIMPLE_REPLY_SIZE)
}

/** Failure; a structured reply carries the reason in words. */
export function replyError(
  writer: ReplyWriter,
  request: NBDRequest,
  structured: boolean,
  error: number,
  reason: string
): void {
  const { cookieHigh, cookieLow } = request
  if (!structured) {
    const { memory, end } = writer.reserve(NBD_SIMPLE_REPLY_SIZE)
    encodeSimpleReply(memory.buffer, end, error, cookieHigh, cookieLow)
    writer.commit(NBD_SIMPLE_REPLY_SIZE)
    return
  }
  const message = encodeTruncated(reason)
  const length = NBD_CHUNK_ERROR_SIZE + message.length
  const { memory, end } = writer.reserve(NBD_CHUNK_SIZE + length)
  encodeChunk(memory.buffer, end, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_ERROR, cookieHigh, cookieLow, length)
  encodeChunkError(memory.buffer, end + NBD_CHUNK_SIZE, error, message)
  writer.commit(NBD_CHUNK_SIZE + length)
}

/**
 * One chunk of BLOCK_STATUS.
 *
 * @param done it is the reply's last chunk
 */
export function replyBlockStatus(
  writer: ReplyWriter,
  request: NBDRequest,
  contextId: number,
  extents: BlockExtent[],
  done: boolean
): void {
  const { cookieHigh, cookieLow } = request
  const length = NBD_CHUNK_CONTEXT_SIZE + extents.length * NBD_EXTENT_SIZE
  const { memory, end } = writer.reserve(NBD_CHUNK_SIZE + length)
  const flags = done ? NBD_REPLY_FLAG_DONE : 0
  encodeChunk(memory.buffer, end, flags, NBD_REPLY_TYPE_BLOCK_STATUS, cookieHigh, cookieLow, length)
  let at = memory.buffer.writeUInt32BE(contextId, end + NBD_CHUNK_SIZE)
  for (const extent of extents) {
    at = memory.buffer.writeUInt32BE(extent.length, at)
    at = memory.buffer.writeUInt32BE(extent.flags, at)
  }
  writer.commit(NBD_CHUNK_SIZE + length)
}
