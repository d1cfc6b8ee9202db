/**
 * An option as a client sends it.
 *
 *   offset  size  field
 *   0       8     NBD_OPT_MAGIC
 *   8       4     option
 *   12      4     length of the payload, in bytes
 *   16      ...   payload
 *
 * @see doc/proto.md "Newstyle negotiation"
 */
import { NBD_OPT_MAGIC } from '../constants.ts'

const MAGIC = 0
const OPTION = 8
const LENGTH = 12

export const NBD_OPTION_SIZE = 8 + 4 + 4

export interface OptionRequest {
  option: number
  /** Bytes of payload that follow. Not checked against any limit. */
  length: number
}

/** @returns undefined when the magic is wrong: the stream is out of step and must be closed */
export function decodeOptionRequest(buf: Buffer): OptionRequest | undefined {
  if (buf.readBigUInt64BE(MAGIC) !== NBD_OPT_MAGIC) return undefined
  return { option: buf.readUInt32BE(OPTION), length: buf.readUInt32BE(LENGTH) }
}

/** @returns a new buffer with header and payload, the caller's */
export function encodeOptionRequest(option: number, payload: Uint8Array = new Uint8Array(0)): Buffer {
  const buf = Buffer.alloc(NBD_OPTION_SIZE + payload.length)
  buf.writeBigUInt64BE(NBD_OPT_MAGIC, MAGIC)
  buf.writeUInt32BE(option, OPTION)
  buf.writeUInt32BE(payload.length, LENGTH)
  buf.set(payload, NBD_OPTION_SIZE)
  return buf
}
