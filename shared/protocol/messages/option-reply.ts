/**
 * A reply to an option.
 *
 *   offset  size  field
 *   0       8     NBD_REP_MAGIC
 *   8       4     option that is answered
 *   12      4     reply type
 *   16      4     length of the payload, in bytes
 *   20      ...   payload
 *
 * @see doc/proto.md "Fixed newstyle negotiation"
 */
import { NBD_REP_MAGIC } from '../constants.ts'

const MAGIC = 0
const OPTION = 8
const TYPE = 12
const LENGTH = 16

export const NBD_OPTION_REPLY_SIZE = 8 + 4 + 4 + 4

export interface OptionReply {
  option: number
  type: number
  /** Bytes of payload that follow. Not checked against any limit. */
  length: number
}

/** @returns a new buffer with header and payload, the caller's */
export function encodeOptionReply(
  option: number,
  type: number,
  payload: Uint8Array = new Uint8Array(0)
): Buffer {
  const buf = Buffer.alloc(NBD_OPTION_REPLY_SIZE + payload.length)
  buf.writeBigUInt64BE(NBD_REP_MAGIC, MAGIC)
  buf.writeUInt32BE(option, OPTION)
  buf.writeUInt32BE(type, TYPE)
  buf.writeUInt32BE(payload.length, LENGTH)
  buf.set(payload, NBD_OPTION_REPLY_SIZE)
  return buf
}

/** @returns undefined when the magic is wrong */
export function decodeOptionReply(buf: Buffer): OptionReply | undefined {
  if (buf.readBigUInt64BE(MAGIC) !== NBD_REP_MAGIC) return undefined
  return { option: buf.readUInt32BE(OPTION), type: buf.readUInt32BE(TYPE), length: buf.readUInt32BE(LENGTH) }
}
