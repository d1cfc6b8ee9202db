/**
 * What a client learns of an export: the payloads of NBD_REP_INFO, and the old answer to NBD_OPT_EXPORT_NAME.
 *
 *   NBD_INFO_EXPORT      2 type, 8 size, 2 transmission flags
 *   NBD_INFO_NAME        2 type, name
 *   NBD_INFO_DESCRIPTION 2 type, description
 *   NBD_INFO_BLOCK_SIZE  2 type, 4 minimum, 4 preferred, 4 maximum
 *   EXPORT_NAME's answer 8 size, 2 transmission flags, 124 zeroes unless NBD_FLAG_C_NO_ZEROES
 *
 * @see doc/proto.md "Option reply types", "NBD_OPT_EXPORT_NAME"
 */
import { NBD_INFO_BLOCK_SIZE, NBD_INFO_EXPORT } from '../constants.ts'

export const NBD_INFO_EXPORT_SIZE = 2 + 8 + 2
export const NBD_INFO_BLOCK_SIZE_SIZE = 2 + 4 + 4 + 4
const EXPORT_NAME_ANSWER_SIZE = 8 + 2
const EXPORT_NAME_ZEROES = 124

export interface BlockSizes {
  /** Power of two, 1 to 65536. */
  minimum: number
  /** Power of two, at least 512 and at least the minimum. */
  preferred: number
  /** Largest payload of READ and WRITE; at least the preferred size. */
  maximum: number
}

export function encodeInfoExport(size: number, flags: number): Buffer {
  const buf = Buffer.alloc(NBD_INFO_EXPORT_SIZE)
  buf.writeUInt16BE(NBD_INFO_EXPORT, 0)
  buf.writeBigUInt64BE(BigInt(size), 2)
  buf.writeUInt16BE(flags, 10)
  return buf
}

/** NBD_INFO_NAME and NBD_INFO_DESCRIPTION. */
export function encodeInfoText(info: number, text: string): Buffer {
  const bytes = Buffer.from(text, 'utf8')
  const buf = Buffer.alloc(2 + bytes.length)
  buf.writeUInt16BE(info, 0)
  buf.set(bytes, 2)
  return buf
}

export function encodeInfoBlockSize({ minimum, preferred, maximum }: BlockSizes): Buffer {
  const buf = Buffer.alloc(NBD_INFO_BLOCK_SIZE_SIZE)
  buf.writeUInt16BE(NBD_INFO_BLOCK_SIZE, 0)
  buf.writeUInt32BE(minimum, 2)
  buf.writeUInt32BE(preferred, 6)
  buf.writeUInt32BE(maximum, 10)
  return buf
}

/** @param zeroes whether the client did not ask to leave the 124 bytes of padding out */
export function encodeExportNameAnswer(size: number, flags: number, zeroes: boolean): Buffer {
  const buf = Buffer.alloc(EXPORT_NAME_ANSWER_SIZE + (zeroes ? EXPORT_NAME_ZEROES : 0))
  buf.writeBigUInt64BE(BigInt(size), 0)
  buf.writeUInt16BE(flags, 8)
  return buf
}
