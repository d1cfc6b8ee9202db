/**
 * A request of the transmission phase, with extended headers.
 *
 *   offset  size  field
 *   0       4     NBD_EXTENDED_REQUEST_MAGIC
 *   4       2     command flags
 *   6       2     command
 *   8       8     cookie
 *   16      8     offset, in bytes
 *   24      8     length, in bytes: of the payload if the flags have NBD_CMD_FLAG_PAYLOAD_LEN, else of the effect
 *   32      ...   payload, if the flags have NBD_CMD_FLAG_PAYLOAD_LEN
 *
 * @see doc/proto.md "Request message" of the extension-ext-header branch; nbd_receive_request in QEMU's nbd/server.c
 */
import { NBD_EXTENDED_REQUEST_MAGIC } from '../constants.ts'
import { readUint64, writeUint64 } from '../uint64.ts'
import type { NBDRequest, RequestHeader } from './request.ts'

const MAGIC = 0
const FLAGS = 4
const TYPE = 6
const COOKIE = 8
const OFFSET = 16
const LENGTH = 24

export const NBD_EXTENDED_REQUEST_SIZE = 4 + 2 + 2 + 8 + 8 + 8

/**
 * Decodes the request at `at` into `request`; the caller has seen to it that NBD_EXTENDED_REQUEST_SIZE bytes are there.
 *
 * @returns false when the magic is wrong: the stream is out of step and must be closed
 */
export function decodeExtendedRequest(buf: Buffer, at: number, request: NBDRequest): boolean {
  if (buf.readUInt32BE(at + MAGIC) !== NBD_EXTENDED_REQUEST_MAGIC) return false
  request.flags = buf.readUInt16BE(at + FLAGS)
  request.type = buf.readUInt16BE(at + TYPE)
  request.cookieHigh = buf.readUInt32BE(at + COOKIE)
  request.cookieLow = buf.readUInt32BE(at + COOKIE + 4)
  request.offset = readUint64(buf, at + OFFSET)
  request.offsetHigh = buf.readUInt32BE(at + OFFSET)
  request.offsetLow = buf.readUInt32BE(at + OFFSET + 4)
  request.length = readUint64(buf, at + LENGTH)
  return true
}

/** Writes a request; the caller has seen to it that NBD_EXTENDED_REQUEST_SIZE bytes of room are there. */
export function encodeExtendedRequest(buf: Buffer, at: number, request: RequestHeader): void {
  buf.writeUInt32BE(NBD_EXTENDED_REQUEST_MAGIC, at + MAGIC)
  buf.writeUInt16BE(request.flags, at + FLAGS)
  buf.writeUInt16BE(request.type, at + TYPE)
  buf.writeUInt32BE(request.cookieHigh, at + COOKIE)
  buf.writeUInt32BE(request.cookieLow, at + COOKIE + 4)
  writeUint64(buf, at + OFFSET, request.offset)
  writeUint64(buf, at + LENGTH, request.length)
}
