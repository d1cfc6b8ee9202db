/**
 * The first bytes of a connection.
 *
 * Server's greeting:                      Client's answer:
 *   offset  size  field                     offset  size  field
 *   0       8     NBD_INIT_MAGIC            0       4     client flags
 *   8       8     NBD_OPT_MAGIC
 *   16      2     handshake flags
 *
 * @see doc/proto.md "Newstyle negotiation"
 */
import { NBD_INIT_MAGIC, NBD_OPT_MAGIC } from '../constants.ts'

const INIT_MAGIC = 0
const OPT_MAGIC = 8
const FLAGS = 16

export const NBD_GREETING_SIZE = 8 + 8 + 2
export const NBD_CLIENT_FLAGS_SIZE = 4

/** @returns a new buffer, the caller's */
export function encodeGreeting(flags: number): Buffer {
  const buf = Buffer.alloc(NBD_GREETING_SIZE)
  buf.writeBigUInt64BE(NBD_INIT_MAGIC, INIT_MAGIC)
  buf.writeBigUInt64BE(NBD_OPT_MAGIC, OPT_MAGIC)
  buf.writeUInt16BE(flags, FLAGS)
  return buf
}

/** Client flags as an unsigned number. */
export function decodeClientFlags(buf: Buffer): number {
  return buf.readUInt32BE(0)
}
