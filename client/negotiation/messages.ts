/**
 * The client's half of the handshake's messages; the server's half, and the layouts, are in shared/protocol/messages.
 */
import { NBD_INIT_MAGIC, NBD_OPT_MAGIC } from '../../shared/protocol/constants.ts'
import { NBD_CLIENT_FLAGS_SIZE } from '../../shared/protocol/messages/handshake.ts'
import {
  NBD_INFO_BLOCK_SIZE_SIZE,
  NBD_INFO_EXPORT_SIZE,
  type BlockSizes
} from '../../shared/protocol/messages/export-info.ts'
import { decodeString } from '../../shared/protocol/string.ts'

/** What stands in the oldstyle handshake where the newstyle one has NBD_OPT_MAGIC. */
const OLDSTYLE_MAGIC = 0x00420281861253n
/** Both magics, by which any handshake begins. */
export const MAGICS_SIZE = 8 + 8
/** What follows them in the newstyle handshake. */
export const HANDSHAKE_FLAGS_SIZE = 2
/** What follows them in the oldstyle handshake: size, flags, zeroes. */
export const OLDSTYLE_SIZE = 8 + 4
export const OLDSTYLE_ZEROES = 124
/** The answer to NBD_OPT_EXPORT_NAME: size, flags, and zeroes unless NBD_FLAG_C_NO_ZEROES. */
export const EXPORT_NAME_ANSWER_SIZE = 8 + 2
export const EXPORT_NAME_ZEROES = 124

/** @returns the style of the handshake, or a sentence that says why this is none that we understand */
export function decodeMagics(buf: Buffer): 'oldstyle' | 'newstyle' | { problem: string } {
  if (buf.readBigUInt64BE(0) !== NBD_INIT_MAGIC) {
    return { problem: `it is no NBD server: it starts with 0x${buf.toString('hex', 0, 8)}` }
  }
  const magic = buf.readBigUInt64BE(8)
  if (magic === OLDSTYLE_MAGIC) return 'oldstyle'
  if (magic === NBD_OPT_MAGIC) return 'newstyle'
  return { problem: `wrong handshake magic 0x${buf.toString('hex', 8, 16)}` }
}

/** The handshake flags that became the upper half of the flags are those of the newstyle; here they mean nothing. */
export const decodeOldstyle = (buf: Buffer): ExportInfo => ({
  size: buf.readBigUInt64BE(0),
  flags: buf.readUInt16BE(8 + 2)
})

/** @returns a new buffer, the caller's */
export function encodeClientFlags(flags: number): Buffer {
  const buf = Buffer.alloc(NBD_CLIENT_FLAGS_SIZE)
  buf.writeUInt32BE(flags)
  return buf
}

export interface ExportInfo {
  /** In all its 64 bits: whether it can be worked with is not the codec's to say. */
  size: bigint
  flags: number
}

/** Of 10 bytes at `at`, which the caller has seen to. */
export function decodeExportInfo(buf: Buffer, at: number): ExportInfo {
  return { size: buf.readBigUInt64BE(at), flags: buf.readUInt16BE(at + 8) }
}

/** Payload of NBD_REP_INFO with NBD_INFO_EXPORT. @returns undefined when its length is wrong */
export const decodeInfoExport = (payload: Buffer): ExportInfo | undefined =>
  payload.length === NBD_INFO_EXPORT_SIZE ? decodeExportInfo(payload, 2) : undefined

/** Payload of NBD_REP_INFO with NBD_INFO_NAME or NBD_INFO_DESCRIPTION. */
export const decodeInfoText = (payload: Buffer): string | { problem: string } =>
  decodeString(payload.subarray(2))

/** Payload of NBD_REP_INFO with NBD_INFO_BLOCK_SIZE. @returns undefined when its length is wrong */
export function decodeInfoBlockSize(payload: Buffer): BlockSizes | undefined {
  if (payload.length !== NBD_INFO_BLOCK_SIZE_SIZE) return undefined
  return {
    minimum: payload.readUInt32BE(2),
    preferred: payload.readUInt32BE(6),
    maximum: payload.readUInt32BE(10)
  }
}

/** Payload of NBD_REP_META_CONTEXT. */
export function decodeMetaContextReply(
  payload: Buffer
): { id: number; context: string } | { problem: string } {
  if (payload.length < 4) return { problem: `payload of ${payload.length} bytes is too short` }
  const context = decodeString(payload.subarray(4))
  return typeof context === 'string'
    ? { id: payload.readUInt32BE(0), context }
    : { problem: `the context's name ${context.problem}` }
}

/** Payload of NBD_REP_SERVER: length of the name, name, description. */
export function decodeServerReply(
  payload: Buffer
): { name: string; description: string } | { problem: string } {
  if (payload.length < 4) return { problem: `payload of ${payload.length} bytes is too short` }
  const length = payload.readUInt32BE(0)
  if (length > payload.length - 4) return { problem: `name length ${length} does not fit the payload` }
  const name = decodeString(payload.subarray(4, 4 + length))
  if (typeof name !== 'string') return { problem: `the export's name ${name.problem}` }
  const description = decodeString(payload.subarray(4 + length))
  if (typeof description !== 'string') return { problem: `the description ${description.problem}` }
  return { name, description }
}
