/**
 * A chunk of a structured reply.
 *
 *   offset  size  field
 *   0       4     NBD_STRUCTURED_REPLY_MAGIC
 *   4       2     flags (NBD_REPLY_FLAG_DONE)
 *   6       2     type
 *   8       8     cookie
 *   16      4     length of the payload, in bytes
 *   20      ...   payload:
 *     NBD_REPLY_TYPE_OFFSET_DATA   8 offset, data
 *     NBD_REPLY_TYPE_OFFSET_HOLE   8 offset, 4 length of the hole
 *     NBD_REPLY_TYPE_BLOCK_STATUS  4 context id, then for each extent: 4 length, 4 status flags
 *     NBD_REPLY_TYPE_ERROR         4 error, 2 length of the message, message
 *
 * @see doc/proto.md "Structured reply chunk message"
 */
import { NBD_STRUCTURED_REPLY_MAGIC } from '../constants.ts'
import { readUint16, readUint32, writeUint16, writeUint32 } from '../uint.ts'

const MAGIC = 0
const FLAGS = 4
const TYPE = 6
const COOKIE = 8
const LENGTH = 16

export const NBD_CHUNK_SIZE = 4 + 2 + 2 + 8 + 4
/** In front of the data of NBD_REPLY_TYPE_OFFSET_DATA. */
export const NBD_CHUNK_OFFSET_SIZE = 8
/** Offset and length of OFFSET_HOLE. */
export const NBD_CHUNK_HOLE_SIZE = 8 + 4
/** In front of the extents of NBD_REPLY_TYPE_BLOCK_STATUS. */
export const NBD_CHUNK_CONTEXT_SIZE = 4
export const NBD_EXTENT_SIZE = 4 + 4
/** In front of the message of NBD_REPLY_TYPE_ERROR. */
export const NBD_CHUNK_ERROR_SIZE = 4 + 2

/** Writes a chunk's header at `at`; the caller has seen to it that the room is there. */
export function encodeChunk(
  buf: Buffer,
  at: number,
  flags: number,
  type: number,
  cookieHigh: number,
  cookieLow: number,
  length: number
): void {
  writeUint32(buf, at + MAGIC, NBD_STRUCTURED_REPLY_MAGIC)
  writeUint16(buf, at + FLAGS, flags)
  writeUint16(buf, at + TYPE, type)
  writeUint32(buf, at + COOKIE, cookieHigh)
  writeUint32(buf, at + COOKIE + 4, cookieLow)
  writeUint32(buf, at + LENGTH, length)
}

/** Writes error and message; `message` is at most 4096 bytes of UTF-8. */
export function encodeChunkError(buf: Buffer, at: number, error: number, message: Buffer): void {
  writeUint32(buf, at, error)
  writeUint16(buf, at + 4, message.length)
  buf.set(message, at + NBD_CHUNK_ERROR_SIZE)
}

export interface Chunk {
  flags: number
  type: number
  cookieHigh: number
  cookieLow: number
  /** Bytes of payload that follow. Not checked against any limit. */
  length: number
}

/** @returns undefined when the magic is another one */
export function decodeChunk(buf: Buffer, at: number): Chunk | undefined {
  if (readUint32(buf, at + MAGIC) !== NBD_STRUCTURED_REPLY_MAGIC) return undefined
  return {
    flags: readUint16(buf, at + FLAGS),
    type: readUint16(buf, at + TYPE),
    cookieHigh: readUint32(buf, at + COOKIE),
    cookieLow: readUint32(buf, at + COOKIE + 4),
    length: readUint32(buf, at + LENGTH)
  }
}
