/**
 * A request of the transmission phase, in compact form.
 *
 *   offset  size  field
 *   0       4     NBD_REQUEST_MAGIC
 *   4       2     command flags
 *   6       2     command
 *   8       8     cookie
 *   16      8     offset, in bytes
 *   24      4     length, in bytes
 *   28      ...   payload, for NBD_CMD_WRITE
 *
 * @see doc/proto.md "Request message"; nbd_receive_request in QEMU's nbd/server.c
 */
import { NBD_REQUEST_MAGIC } from '../constants.ts'

const MAGIC = 0
const FLAGS = 4
const TYPE = 6
const COOKIE = 8
const OFFSET = 16
const LENGTH = 24

export const NBD_REQUEST_SIZE = 4 + 2 + 2 + 8 + 8 + 4

/** A request in memory; not its form on the wire. Reused from request to request on the cached path. */
export interface NBDRequest {
  flags: number
  type: number
  /** The cookie is opaque; two unsigned halves keep all 64 bits without a bigint. */
  cookieHigh: number
  cookieLow: number
  /** Bytes; Infinity when the value on the wire is beyond 2^53 - 1, so that every bound refuses it. */
  offset: number
  length: number
}

export const newRequest = (): NBDRequest => ({
  flags: 0,
  type: 0,
  cookieHigh: 0,
  cookieLow: 0,
  offset: 0,
  length: 0
})

/**
 * Decodes the request at `at` into `request`; the caller has seen to it that NBD_REQUEST_SIZE bytes are there.
 *
 * @returns false when the magic is wrong: the stream is out of step and must be closed
 */
export function decodeRequest(buf: Buffer, at: number, request: NBDRequest): boolean {
  if (buf.readUInt32BE(at + MAGIC) !== NBD_REQUEST_MAGIC) return false
  request.flags = buf.readUInt16BE(at + FLAGS)
  request.type = buf.readUInt16BE(at + TYPE)
  request.cookieHigh = buf.readUInt32BE(at + COOKIE)
  request.cookieLow = buf.readUInt32BE(at + COOKIE + 4)
  const offsetHigh = buf.readUInt32BE(at + OFFSET)
  request.offset =
    offsetHigh < 0x200000 ? offsetHigh * 0x100000000 + buf.readUInt32BE(at + OFFSET + 4) : Infinity
  request.length = buf.readUInt32BE(at + LENGTH)
  return true
}

/** Writes a request; the caller has seen to it that NBD_REQUEST_SIZE bytes of room are there. */
export function encodeRequest(buf: Buffer, at: number, request: NBDRequest): void {
  buf.writeUInt32BE(NBD_REQUEST_MAGIC, at + MAGIC)
  buf.writeUInt16BE(request.flags, at + FLAGS)
  buf.writeUInt16BE(request.type, at + TYPE)
  buf.writeUInt32BE(request.cookieHigh, at + COOKIE)
  buf.writeUInt32BE(request.cookieLow, at + COOKIE + 4)
  buf.writeBigUInt64BE(BigInt(request.offset), at + OFFSET)
  buf.writeUInt32BE(request.length, at + LENGTH)
}
