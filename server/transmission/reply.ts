/**
 * The replies of both forms, simple and structured, built in the writer's arena.
 *
 * @see doc/proto.md "Simple reply message", "Structured reply chunk message"
 */
import {
  NBD_CMD_READ,
  NBD_EIO,
  NBD_OK,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_ERROR,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA
} from '../../shared/protocol/constants.ts'
import { NBD_MAX_STRING_SIZE } from '../../shared/protocol/limits.ts'
import type { NBDRequest } from '../../shared/protocol/messages/request.ts'
import { encodeSimpleReply, NBD_SIMPLE_REPLY_SIZE } from '../../shared/protocol/messages/simple-reply.ts'
import {
  encodeChunk,
  encodeChunkError,
  NBD_CHUNK_CONTEXT_SIZE,
  NBD_CHUNK_ERROR_SIZE,
  NBD_CHUNK_OFFSET_SIZE,
  NBD_CHUNK_SIZE,
  NBD_EXTENT_SIZE
} from '../../shared/protocol/messages/structured-chunk.ts'
import { encodeTruncated } from '../../shared/protocol/string.ts'
import { writeUint64 } from '../../shared/protocol/uint64.ts'
import type { BlockExtent, BlockMap } from '../../shared/block/block-node.ts'
import { takeMemory } from '../../shared/io/memory-pool.ts'
import type { ReplyWriter } from './reply-writer.ts'

/** Bytes in front of the data of a successful READ. */
export const readHeaderSize = (structured: boolean): number =>
  structured ? NBD_CHUNK_SIZE + NBD_CHUNK_OFFSET_SIZE : NBD_SIMPLE_REPLY_SIZE

/**
 * Writes what stands in front of the `request.length` bytes of a successful READ.
 *
 * @param flags of the structured chunk
 */
export function encodeReadHeader(
  buf: Buffer,
  at: number,
  request: NBDRequest,
  structured: boolean,
  flags = NBD_REPLY_FLAG_DONE
): void {
  const { cookieHigh, cookieLow, offset, length } = request
  if (!structured) {
    encodeSimpleReply(buf, at, NBD_OK, cookieHigh, cookieLow)
    return
  }
  const type = NBD_REPLY_TYPE_OFFSET_DATA
  encodeChunk(buf, at, flags, type, cookieHigh, cookieLow, NBD_CHUNK_OFFSET_SIZE + length)
  writeUint64(buf, at + NBD_CHUNK_SIZE, offset)
}

/** Success without data. */
export function replyDone(writer: ReplyWriter, request: NBDRequest, structured: boolean): void {
  const { cookieHigh, cookieLow } = request
  // A simple reply is legal to all but READ, and shorter.
  if (structured && request.type === NBD_CMD_READ) {
    const { memory, used } = writer.reserve(NBD_CHUNK_SIZE)
    encodeChunk(memory.buffer, used, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_NONE, cookieHigh, cookieLow, 0)
    writer.commit(NBD_CHUNK_SIZE)
    return
  }
  const { memory, used } = writer.reserve(NBD_SIMPLE_REPLY_SIZE)
  encodeSimpleReply(memory.buffer, used, NBD_OK, cookieHigh, cookieLow)
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
  if (!structured) {
    const { memory, used } = writer.reserve(NBD_SIMPLE_REPLY_SIZE)
    encodeSimpleReply(memory.buffer, used, error, request.cookieHigh, request.cookieLow)
    writer.commit(NBD_SIMPLE_REPLY_SIZE)
    return
  }
  const { memory, used } = writer.reserve(NBD_CHUNK_SIZE + NBD_CHUNK_ERROR_SIZE + NBD_MAX_STRING_SIZE)
  writer.commit(encodeErrorReply(memory.buffer, used, request, error, reason))
}

/** Writes a structured reply's error chunk at `at`. @returns its size */
function encodeErrorReply(
  buf: Buffer,
  at: number,
  request: NBDRequest,
  error: number,
  reason: string
): number {
  const message = encodeTruncated(reason)
  const length = NBD_CHUNK_ERROR_SIZE + message.length
  const { cookieHigh, cookieLow } = request
  encodeChunk(buf, at, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_ERROR, cookieHigh, cookieLow, length)
  encodeChunkError(buf, at + NBD_CHUNK_SIZE, error, message)
  return NBD_CHUNK_SIZE + length
}

/**
 * A READ whose data goes straight from a file.
 *
 * Until all of it is sent the file may turn out to be shorter than it was. So a structured reply says that it is done in
 * a chunk of its own behind the data; a simple one cannot tell, and the connection ends.
 *
 * @see doc/proto.md "Structured reply chunk message", NBD_REPLY_FLAG_DONE
 */
export function replyReadFromFile(
  writer: ReplyWriter,
  request: NBDRequest,
  structured: boolean,
  map: BlockMap
): void {
  const size = readHeaderSize(structured)
  // With room for the end too: both are in the queue before any of it is sent.
  const { memory, used } = writer.reserve(size + NBD_CHUNK_SIZE)
  encodeReadHeader(memory.buffer, used, request, structured, 0)
  writer.commit(size)
  if (!structured) {
    writer.pushFile(map, request.length)
    return
  }
  const failed = { ...request }
  writer.pushFile(map, request.length, {
    instead: NBD_CHUNK_SIZE,
    error: () => {
      const memory = takeMemory(NBD_CHUNK_SIZE + NBD_CHUNK_ERROR_SIZE + NBD_MAX_STRING_SIZE)
      const reason = 'NBD_CMD_READ: the image has become shorter while it was read'
      return { memory, length: encodeErrorReply(memory.buffer, 0, failed, NBD_EIO, reason) }
    }
  })
  replyDone(writer, request, structured)
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
  const { memory, used } = writer.reserve(NBD_CHUNK_SIZE + length)
  const flags = done ? NBD_REPLY_FLAG_DONE : 0
  encodeChunk(memory.buffer, used, flags, NBD_REPLY_TYPE_BLOCK_STATUS, cookieHigh, cookieLow, length)
  let at = memory.buffer.writeUInt32BE(contextId, used + NBD_CHUNK_SIZE)
  for (const extent of extents) {
    at = memory.buffer.writeUInt32BE(extent.length, at)
    at = memory.buffer.writeUInt32BE(extent.flags, at)
  }
  writer.commit(NBD_CHUNK_SIZE + length)
}
