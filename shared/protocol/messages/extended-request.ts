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
import { readUint16, readUint32, writeUint16, writeUint32 } from '../uint.ts'
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
  if (readUint32(buf, at + MAGIC) !== NBD_EXTENDED_REQUEST_MAGIC) return false
  request.flags = readUint16(buf, at + FLAGS)
  request.type = readUint16(buf, at + TYPE)
  request.cookieHigh = readUint32(buf, at + COOKIE)
  request.cookieLow = readUint32(buf, at + COOKIE + 4)
  request.offset = readUint64(buf, at + OFFSET)
  request.offsetHigh = readUint32(buf, at + OFFSET)
  request.offsetLow = readUint32(buf, at + OFFSET + 4)
  request.length = readUint64(buf, at + LENGTH)
  return true
}

/** Writes a request; the caller has seen to it that NBD_EXTENDED_REQUEST_SIZE bytes of room are there. */
export function encodeExtendedRequest(buf: Buffer, at: number, request: RequestHeader): void {
  writeUint32(buf, at + MAGIC, NBD_EXTENDED_REQUEST_MAGIC)
  writeUint16(buf, at + FLAGS, request.flags)
  writeUint16(buf, at + TYPE, request.type)
  writeUint32(buf, at + COOKIE, request.cookieHigh)
  writeUint32(buf, at + COOKIE + 4, request.cookieLow)
  writeUint64(buf, at + OFFSET, request.offset)
  writeUint64(buf, at + LENGTH, request.length)
}
