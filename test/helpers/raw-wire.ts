/**
 * Messages of a client, byte by byte. Every field can be given a value that no honest client would send; nothing here
 * uses shared/protocol, whose codecs these are the judge of.
 */
import { NBD_EXTENDED_REQUEST_MAGIC, NBD_OPT_MAGIC, NBD_REQUEST_MAGIC } from './raw-constants.ts'

export const KiB = 1024
export const MiB = 1024 * KiB

/** Big-endian unsigned integers. */
export const u16 = (value: number): Buffer => Buffer.from([value >>> 8, value & 0xff])
export const u32 = (value: number): Buffer =>
  Buffer.from([value >>> 24, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff])
export const u64 = (value: bigint): Buffer =>
  Buffer.concat([u32(Number(value >> 32n)), u32(Number(value & 0xffffffffn))])

const bytesOf = (text: string | Buffer): Buffer => (typeof text === 'string' ? Buffer.from(text) : text)

/** An option with its payload. */
export function option(
  number: number,
  payload: Buffer = Buffer.alloc(0),
  { magic = NBD_OPT_MAGIC, length = payload.length }: { magic?: bigint; length?: number } = {}
): Buffer {
  return Buffer.concat([u64(magic), u32(number), u32(length), payload])
}

/** Payload of NBD_OPT_INFO and NBD_OPT_GO. */
export function infoPayload(
  name: string | Buffer,
  infos: number[] = [],
  { nameLength = bytesOf(name).length, count = infos.length }: { nameLength?: number; count?: number } = {}
): Buffer {
  return Buffer.concat([u32(nameLength), bytesOf(name), u16(count), ...infos.map(u16)])
}

/** A string with its length in front, as in the queries for metadata contexts. */
export const lengthAndText = (text: string | Buffer, length = bytesOf(text).length): Buffer =>
  Buffer.concat([u32(length), bytesOf(text)])

/** Payload of NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT. */
export const metaPayload = (
  name: string | Buffer,
  queries: (string | Buffer)[] = [],
  count = queries.length
): Buffer => Buffer.concat([lengthAndText(name), u32(count), ...queries.map((query) => lengthAndText(query))])

export interface RawRequest {
  type: number
  flags?: number
  cookie?: bigint
  offset?: bigint | number
  /** The length of `payload` when absent. */
  length?: number
  payload?: Buffer
  magic?: number
}

/** A request of the transmission phase, with its payload. */
export function request({
  type,
  flags = 0,
  cookie = 0n,
  offset = 0n,
  payload = Buffer.alloc(0),
  length = payload.length,
  magic = NBD_REQUEST_MAGIC
}: RawRequest): Buffer {
  const header = [u32(magic), u16(flags), u16(type), u64(cookie), u64(BigInt(offset)), u32(length)]
  return Buffer.concat([...header, payload])
}

/** A request whose length may have 64 bits. */
export interface RawExtendedRequest extends Omit<RawRequest, 'length'> {
  length?: bigint | number
}

/** The same with an extended header; a payload does not set NBD_CMD_FLAG_PAYLOAD_LEN by itself. */
export function extendedRequest({
  type,
  flags = 0,
  cookie = 0n,
  offset = 0n,
  payload = Buffer.alloc(0),
  length = payload.length,
  magic = NBD_EXTENDED_REQUEST_MAGIC
}: RawExtendedRequest): Buffer {
  const header = [u32(magic), u16(flags), u16(type), u64(cookie), u64(BigInt(offset)), u64(BigInt(length))]
  return Buffer.concat([...header, payload])
}
