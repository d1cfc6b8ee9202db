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
  buf.writeUInt32BE(NBD_SIMPLE_REPLY_MAGIC, at + MAGIC)
  buf.writeUInt32BE(error, at + ERROR)
  buf.writeUInt32BE(cookieHigh, at + COOKIE)
  buf.writeUInt32BE(cookieLow, at + COOKIE + 4)
}

export interface SimpleReply {
  error: number
  cookieHigh: number
  cookieLow: number
}

/** @returns undefined when the magic is another one */
export function decodeSimpleReply(buf: Buffer, at: number): SimpleReply | undefined {
  if (buf.readUInt32BE(at + MAGIC) !== NBD_SIMPLE_REPLY_MAGIC) return undefined
  return {
    error: buf.readUInt32BE(at + ERROR),
    cookieHigh: buf.readUInt32BE(at + COOKIE),
    cookieLow: buf.readUInt32BE(at + COOKIE + 4)
  }
}
