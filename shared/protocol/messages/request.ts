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
import { readUint64, writeUint64 } from '../uint64.ts'

const MAGIC = 0
const FLAGS = 4
const TYPE = 6
const COOKIE = 8
const OFFSET = 16
const LENGTH = 24

export const NBD_REQUEST_SIZE = 4 + 2 + 2 + 8 + 8 + 4

/** What a request says, in either form. */
export interface RequestHeader {
  flags: number
  type: number
  /** The cookie is opaque; two unsigned halves keep all 64 bits without a bigint. */
  cookieHigh: number
  cookieLow: number
  /** Bytes; Infinity when the value on the wire is beyond 2^53 - 1, so that every bound refuses it. */
  offset: number
  /** As `offset`. */
  length: number
}

/** A request in memory; not its form on the wire. Reused from request to request on the cached path. */
export interface NBDRequest extends RequestHeader {
  /** The offset's halves as they came, for extended replies, which repeat them; of a compact request, 0. */
  offsetHigh: number
  offsetLow: number
}

export const newRequest = (): NBDRequest => ({
  flags: 0,
  type: 0,
  cookieHigh: 0,
  cookieLow: 0,
  offset: 0,
  offsetHigh: 0,
  offsetLow: 0,
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
  request.offset = readUint64(buf, at + OFFSET)
  request.length = buf.readUInt32BE(at + LENGTH)
  return true
}

/** Writes a request; the caller has seen to it that NBD_REQUEST_SIZE bytes of room are there. */
export function encodeRequest(buf: Buffer, at: number, request: RequestHeader): void {
  buf.writeUInt32BE(NBD_REQUEST_MAGIC, at + MAGIC)
  buf.writeUInt16BE(request.flags, at + FLAGS)
  buf.writeUInt16BE(request.type, at + TYPE)
  buf.writeUInt32BE(request.cookieHigh, at + COOKIE)
  buf.writeUInt32BE(request.cookieLow, at + COOKIE + 4)
  writeUint64(buf, at + OFFSET, request.offset)
  buf.writeUInt32BE(request.length, at + LENGTH)
}
