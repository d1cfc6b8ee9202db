/**
 * A chunk of a reply, with extended headers.
 *
 *   offset  size  field
 *   0       4     NBD_EXTENDED_REPLY_MAGIC
 *   4       2     flags (NBD_REPLY_FLAG_DONE)
 *   6       2     type
 *   8       8     cookie
 *   16      8     offset of the request
 *   24      8     length of the payload, in bytes
 *   32      ...   payload, as in a structured chunk, but:
 *     NBD_REPLY_TYPE_BLOCK_STATUS_EXT  4 context id, 4 number of extents, then for each: 8 length, 8 status flags
 *
 * @see doc/proto.md "Extended reply chunk message" of the extension-ext-header branch
 */
import { NBD_EXTENDED_REPLY_MAGIC } from '../constants.ts'
import { readUint16, readUint32, writeUint16, writeUint32 } from '../uint.ts'
import { readUint64, writeUint64 } from '../uint64.ts'
import type { Chunk } from './structured-chunk.ts'

const MAGIC = 0
const FLAGS = 4
const TYPE = 6
const COOKIE = 8
const OFFSET = 16
const LENGTH = 24

export const NBD_EXTENDED_CHUNK_SIZE = 4 + 2 + 2 + 8 + 8 + 8
/** In front of the extents of NBD_REPLY_TYPE_BLOCK_STATUS_EXT. */
export const NBD_EXTENDED_CONTEXT_SIZE = 4 + 4
export const NBD_EXTENDED_EXTENT_SIZE = 8 + 8

/**
 * Writes a chunk's header at `at`; the caller has seen to it that the room is there.
 *
 * @param offsetHigh upper half of the offset that the request came with, whatever it was
 */
export function encodeExtendedChunk(
  buf: Buffer,
  at: number,
  flags: number,
  type: number,
  cookieHigh: number,
  cookieLow: number,
  offsetHigh: number,
  offsetLow: number,
  length: number
): void {
  writeUint32(buf, at + MAGIC, NBD_EXTENDED_REPLY_MAGIC)
  writeUint16(buf, at + FLAGS, flags)
  writeUint16(buf, at + TYPE, type)
  writeUint32(buf, at + COOKIE, cookieHigh)
  writeUint32(buf, at + COOKIE + 4, cookieLow)
  writeUint32(buf, at + OFFSET, offsetHigh)
  writeUint32(buf, at + OFFSET + 4, offsetLow)
  writeUint64(buf, at + LENGTH, length)
}

export interface ExtendedChunk extends Chunk {
  /** Infinity when the value on the wire is beyond 2^53 - 1; so is the length. */
  offset: number
}

/** @returns undefined when the magic is another one */
export function decodeExtendedChunk(buf: Buffer, at: number): ExtendedChunk | undefined {
  if (readUint32(buf, at + MAGIC) !== NBD_EXTENDED_REPLY_MAGIC) return undefined
  return {
    flags: readUint16(buf, at + FLAGS),
    type: readUint16(buf, at + TYPE),
    cookieHigh: readUint32(buf, at + COOKIE),
    cookieLow: readUint32(buf, at + COOKIE + 4),
    offset: readUint64(buf, at + OFFSET),
    length: readUint64(buf, at + LENGTH)
  }
}
