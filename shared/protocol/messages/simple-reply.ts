/**
 * A simple reply.
 *
 *   offset  size  field
 *   0       4     NBD_SIMPLE_REPLY_MAGIC
 *   4       4     error
 *   8       8     cookie
 *   16      ...   data, for a successful NBD_CMD_READ
 *
 * @see doc/proto.md "Simple reply message"
 */
import { NBD_SIMPLE_REPLY_MAGIC } from '../constants.ts'
import { readUint32, writeUint32 } from '../uint.ts'

const MAGIC = 0
const ERROR = 4
const COOKIE = 8

export const NBD_SIMPLE_REPLY_SIZE = 4 + 4 + 8

/** Writes the header at `at`; the caller has seen to it that the room is there. */
export function encodeSimpleReply(
  buf: Buffer,
  at: number,
  error: number,
  cookieHigh: number,
  cookieLow: number
): void {
  writeUint32(buf, at + MAGIC, NBD_SIMPLE_REPLY_MAGIC)
  writeUint32(buf, at + ERROR, error)
  writeUint32(buf, at + COOKIE, cookieHigh)
  writeUint32(buf, at + COOKIE + 4, cookieLow)
}

export interface SimpleReply {
  error: number
  cookieHigh: number
  cookieLow: number
}

/** @returns undefined when the magic is another one */
export function decodeSimpleReply(buf: Buffer, at: number): SimpleReply | undefined {
  if (readUint32(buf, at + MAGIC) !== NBD_SIMPLE_REPLY_MAGIC) return undefined
  return {
    error: readUint32(buf, at + ERROR),
    cookieHigh: readUint32(buf, at + COOKIE),
    cookieLow: readUint32(buf, at + COOKIE + 4)
  }
}
