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
import { readUint16, readUint32, writeUint16, writeUint32 } from '../uint.ts'
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
  if (readUint32(buf, at + MAGIC) !== NBD_REQUEST_MAGIC) return false
  request.flags = readUint16(buf, at + FLAGS)
  request.type = readUint16(buf, at + TYPE)
  request.cookieHigh = readUint32(buf, at + COOKIE)
  request.cookieLow = readUint32(buf, at + COOKIE + 4)
  request.offset = readUint64(buf, at + OFFSET)
  request.length = readUint32(buf, at + LENGTH)
  return true
}

/** Writes a request; the caller has seen to it that NBD_REQUEST_SIZE bytes of room are there. */
export function encodeRequest(buf: Buffer, at: number, request: RequestHeader): void {
  writeUint32(buf, at + MAGIC, NBD_REQUEST_MAGIC)
  writeUint16(buf, at + FLAGS, request.flags)
  writeUint16(buf, at + TYPE, request.type)
  writeUint32(buf, at + COOKIE, request.cookieHigh)
  writeUint32(buf, at + COOKIE + 4, request.cookieLow)
  writeUint64(buf, at + OFFSET, request.offset)
  writeUint32(buf, at + LENGTH, request.length)
}
