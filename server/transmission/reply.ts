/**
 * The replies of all three forms, simple, structured and extended, built in the writer's arena.
 *
 * @see doc/proto.md "Simple reply message", "Structured reply chunk message", "Extended reply chunk message"
 */
import {
  NBD_CMD_READ,
  NBD_EIO,
  NBD_OK,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_BLOCK_STATUS_EXT,
  NBD_REPLY_TYPE_ERROR,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE
} from '../../shared/protocol/constants.ts'
import { NBD_MAX_STRING_SIZE } from '../../shared/protocol/limits.ts'
import {
  encodeExtendedChunk,
  NBD_EXTENDED_CHUNK_SIZE,
  NBD_EXTENDED_CONTEXT_SIZE,
  NBD_EXTENDED_EXTENT_SIZE
} from '../../shared/protocol/messages/extended-chunk.ts'
import type { NBDRequest } from '../../shared/protocol/messages/request.ts'
import { encodeSimpleReply, NBD_SIMPLE_REPLY_SIZE } from '../../shared/protocol/messages/simple-reply.ts'
import {
  encodeChunk,
  encodeChunkError,
  NBD_CHUNK_CONTEXT_SIZE,
  NBD_CHUNK_ERROR_SIZE,
  NBD_CHUNK_HOLE_SIZE,
  NBD_CHUNK_OFFSET_SIZE,
  NBD_CHUNK_SIZE,
  NBD_EXTENT_SIZE
} from '../../shared/protocol/messages/structured-chunk.ts'
import {
  NBD_MODE_EXTENDED,
  NBD_MODE_SIMPLE,
  NBD_MODE_STRUCTURED,
  type NBDMode
} from '../../shared/protocol/nbd-mode.ts'
import { encodeTruncated } from '../../shared/protocol/string.ts'
import { writeUint64 } from '../../shared/protocol/uint64.ts'
import type { BlockExtent, BlockMap } from '../../shared/block/block-node.ts'
import { takeMemory } from '../../shared/io/memory-pool.ts'
import { UNREADABLE } from '../../shared/io/staging-pipe.ts'
import type { ReplyWriter } from './reply-writer.ts'

const chunkSize = (mode: NBDMode): number =>
  mode === NBD_MODE_EXTENDED ? NBD_EXTENDED_CHUNK_SIZE : NBD_CHUNK_SIZE

/** Writes a chunk's header. @returns where its payload, of `length` bytes, begins */
function encodeHeader(
  buf: Buffer,
  at: number,
  request: NBDRequest,
  mode: NBDMode,
  flags: number,
  type: number,
  length: number
): number {
  const { cookieHigh, cookieLow, offsetHigh, offsetLow } = request
  if (mode === NBD_MODE_EXTENDED) {
    encodeExtendedChunk(buf, at, flags, type, cookieHigh, cookieLow, offsetHigh, offsetLow, length)
    return at + NBD_EXTENDED_CHUNK_SIZE
  }
  encodeChunk(buf, at, flags, type, cookieHigh, cookieLow, length)
  return at + NBD_CHUNK_SIZE
}

/** Bytes in front of the data of a successful READ. */
export const readHeaderSize = (mode: NBDMode): number =>
  mode === NBD_MODE_SIMPLE ? NBD_SIMPLE_REPLY_SIZE : chunkSize(mode) + NBD_CHUNK_OFFSET_SIZE

/**
 * Writes what stands in front of the `request.length` bytes of a successful READ.
 *
 * @param flags of the chunk
 */
export function encodeReadHeader(
  buf: Buffer,
  at: number,
  request: NBDRequest,
  mode: NBDMode,
  flags = NBD_REPLY_FLAG_DONE
): void {
  if (mode === NBD_MODE_SIMPLE) {
    encodeSimpleReply(buf, at, NBD_OK, request.cookieHigh, request.cookieLow)
    return
  }
  const length = NBD_CHUNK_OFFSET_SIZE + request.length
  const payload = encodeHeader(buf, at, request, mode, flags, NBD_REPLY_TYPE_OFFSET_DATA, length)
  writeUint64(buf, payload, request.offset)
}

/** Success without data. */
export function replyDone(writer: ReplyWriter, request: NBDRequest, mode: NBDMode): void {
  // Where replies are structured, a simple one is legal to all but READ, and shorter.
  if (mode === NBD_MODE_EXTENDED || (mode === NBD_MODE_STRUCTURED && request.type === NBD_CMD_READ)) {
    const size = chunkSize(mode)
    const { memory, used } = writer.reserve(size)
    encodeHeader(memory.buffer, used, request, mode, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_NONE, 0)
    writer.commit(size)
    return
  }
  const { memory, used } = writer.reserve(NBD_SIMPLE_REPLY_SIZE)
  encodeSimpleReply(memory.buffer, used, NBD_OK, request.cookieHigh, request.cookieLow)
  writer.commit(NBD_SIMPLE_REPLY_SIZE)
}

/** Failure; a chunk carries the reason in words. */
export function replyError(
  writer: ReplyWriter,
  request: NBDRequest,
  mode: NBDMode,
  error: number,
  reason: string
): void {
  if (mode === NBD_MODE_SIMPLE) {
    const { memory, used } = writer.reserve(NBD_SIMPLE_REPLY_SIZE)
    encodeSimpleReply(memory.buffer, used, error, request.cookieHigh, request.cookieLow)
    writer.commit(NBD_SIMPLE_REPLY_SIZE)
    return
  }
  const { memory, used } = writer.reserve(maxErrorSize(mode))
  writer.commit(encodeErrorReply(memory.buffer, used, request, mode, error, reason))
}

const maxErrorSize = (mode: NBDMode): number => chunkSize(mode) + NBD_CHUNK_ERROR_SIZE + NBD_MAX_STRING_SIZE

/** Writes an error chunk at `at`. @returns its size */
function encodeErrorReply(
  buf: Buffer,
  at: number,
  request: NBDRequest,
  mode: NBDMode,
  error: number,
  reason: string
): number {
  const message = encodeTruncated(reason)
  const length = NBD_CHUNK_ERROR_SIZE + message.length
  const payload = encodeHeader(buf, at, request, mode, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_ERROR, length)
  encodeChunkError(buf, payload, error, message)
  return payload - at + length
}

/** A READ of nothing but zeroes. Not for simple replies. */
export function replyHole(writer: ReplyWriter, request: NBDRequest, mode: NBDMode): void {
  const size = chunkSize(mode) + NBD_CHUNK_HOLE_SIZE
  const { memory, used } = writer.reserve(size)
  const { buffer } = memory
  const type = NBD_REPLY_TYPE_OFFSET_HOLE
  const payload = encodeHeader(buffer, used, request, mode, NBD_REPLY_FLAG_DONE, type, NBD_CHUNK_HOLE_SIZE)
  writeUint64(buffer, payload, request.offset)
  buffer.writeUInt32BE(request.length, payload + NBD_CHUNK_OFFSET_SIZE)
  writer.commit(size)
}

/**
 * A READ whose data goes straight from a file.
 *
 * Of what is not staged the file may turn out to have less, until all of it is sent. So a reply in chunks says that it is
 * done in a chunk of its own behind the data then; a simple one cannot tell, and the connection ends.
 *
 * @returns false when it cannot be read; nothing is replied then
 * @see doc/proto.md "Structured reply chunk message", NBD_REPLY_FLAG_DONE
 */
export function replyReadFromFile(
  writer: ReplyWriter,
  request: NBDRequest,
  mode: NBDMode,
  map: BlockMap
): boolean {
  const size = readHeaderSize(mode)
  const staged = writer.stage(map, request.length)
  if (staged === UNREADABLE) return false
  // With room for the end too: both are in the queue before any of it is sent.
  const { memory, used } = writer.reserve(size + chunkSize(mode))
  const sure = staged === request.length
  encodeReadHeader(memory.buffer, used, request, mode, sure ? NBD_REPLY_FLAG_DONE : 0)
  writer.commit(size)
  if (mode === NBD_MODE_SIMPLE || sure) {
    writer.pushFile(map, request.length, staged)
    return true
  }
  const failed = { ...request }
  writer.pushFile(map, request.length, staged, {
    instead: chunkSize(mode),
    error: () => {
      const memory = takeMemory(maxErrorSize(mode))
      const reason = 'NBD_CMD_READ: the image has become shorter while it was read'
      return { memory, length: encodeErrorReply(memory.buffer, 0, failed, mode, NBD_EIO, reason) }
    }
  })
  replyDone(writer, request, mode)
  return true
}

/**
 * One chunk of BLOCK_STATUS.
 *
 * @param done it is the reply's last chunk
 */
export function replyBlockStatus(
  writer: ReplyWriter,
  request: NBDRequest,
  mode: NBDMode,
  contextId: number,
  extents: BlockExtent[],
  done: boolean
): void {
  const flags = done ? NBD_REPLY_FLAG_DONE : 0
  if (mode === NBD_MODE_EXTENDED) replyExtendedStatus(writer, request, flags, contextId, extents)
  else replyStatus(writer, request, flags, contextId, extents)
}

function replyStatus(
  writer: ReplyWriter,
  request: NBDRequest,
  flags: number,
  contextId: number,
  extents: BlockExtent[]
): void {
  const length = NBD_CHUNK_CONTEXT_SIZE + extents.length * NBD_EXTENT_SIZE
  const { memory, used } = writer.reserve(NBD_CHUNK_SIZE + length)
  const { buffer } = memory
  const type = NBD_REPLY_TYPE_BLOCK_STATUS
  let at = encodeHeader(buffer, used, request, NBD_MODE_STRUCTURED, flags, type, length)
  at = buffer.writeUInt32BE(contextId, at)
  for (const extent of extents) {
    at = buffer.writeUInt32BE(extent.length, at)
    at = buffer.writeUInt32BE(extent.flags, at)
  }
  writer.commit(NBD_CHUNK_SIZE + length)
}

function replyExtendedStatus(
  writer: ReplyWriter,
  request: NBDRequest,
  flags: number,
  contextId: number,
  extents: BlockExtent[]
): void {
  const length = NBD_EXTENDED_CONTEXT_SIZE + extents.length * NBD_EXTENDED_EXTENT_SIZE
  const { memory, used } = writer.reserve(NBD_EXTENDED_CHUNK_SIZE + length)
  const { buffer } = memory
  const type = NBD_REPLY_TYPE_BLOCK_STATUS_EXT
  let at = encodeHeader(buffer, used, request, NBD_MODE_EXTENDED, flags, type, length)
  at = buffer.writeUInt32BE(contextId, at)
  at = buffer.writeUInt32BE(extents.length, at)
  for (const extent of extents) {
    writeUint64(buffer, at, extent.length)
    writeUint64(buffer, at + 8, extent.flags)
    at += NBD_EXTENDED_EXTENT_SIZE
  }
  writer.commit(NBD_EXTENDED_CHUNK_SIZE + length)
}
