/**
 * Payload of NBD_OPT_INFO and NBD_OPT_GO.
 *
 *   offset  size  field
 *   0       4     length of the name, in bytes
 *   4       n     name of the export; empty means the default one
 *   4+n     2     number of information requests
 *   6+n     2*m   information requests
 *
 * @see doc/proto.md "NBD_OPT_INFO"
 */
import { NBD_MAX_INFO_REQUESTS } from '../limits.ts'
import { decodeString } from '../string.ts'

export interface InfoRequest {
  name: string
  infos: Set<number>
}

/** @returns the request, or a sentence that says why the payload is malformed */
export function decodeInfoRequest(payload: Buffer): InfoRequest | { problem: string } {
  if (payload.length < 4 + 2) return { problem: `payload of ${payload.length} bytes is too short` }
  const nameLength = payload.readUInt32BE(0)
  if (nameLength > payload.length - 6) {
    return { problem: `name length ${nameLength} does not fit the payload of ${payload.length} bytes` }
  }
  const name = decodeString(payload.subarray(4, 4 + nameLength))
  if (typeof name !== 'string') return { problem: `export name ${name.problem}` }
  const count = payload.readUInt16BE(4 + nameLength)
  const start = 6 + nameLength
  if (payload.length - start !== 2 * count) {
    return { problem: `${count} information requests do not fill the payload of ${payload.length} bytes` }
  }
  if (count > NBD_MAX_INFO_REQUESTS) return { problem: `${count} information requests are too many` }
  const infos = new Set<number>()
  for (let i = 0; i < count; i++) infos.add(payload.readUInt16BE(start + 2 * i))
  return { name, infos }
}

/** @returns a new buffer, the caller's */
export function encodeInfoRequest(name: string, infos: number[]): Buffer {
  const bytes = Buffer.from(name, 'utf8')
  const buf = Buffer.alloc(4 + bytes.length + 2 + 2 * infos.length)
  buf.writeUInt32BE(bytes.length, 0)
  buf.set(bytes, 4)
  buf.writeUInt16BE(infos.length, 4 + bytes.length)
  infos.forEach((info, i) => buf.writeUInt16BE(info, 6 + bytes.length + 2 * i))
  return buf
}
