/** Messages of a server in the transmission phase, byte by byte; nothing here uses shared/protocol. */
import {
  NBD_EXTENDED_REPLY_MAGIC,
  NBD_REPLY_FLAG_DONE,
  NBD_SIMPLE_REPLY_MAGIC,
  NBD_STRUCTURED_REPLY_MAGIC
} from '../../../helpers/raw-constants.ts'
import { u16, u32, u64 } from '../../../helpers/raw-wire.ts'

export const simpleReply = (cookie: bigint, error = 0, data: Buffer = Buffer.alloc(0)): Buffer =>
  Buffer.concat([u32(NBD_SIMPLE_REPLY_MAGIC), u32(error), u64(cookie), data])

interface ChunkFields {
  done?: boolean
  /** Announced, where it differs from that of the payload. */
  length?: number
}

export const chunk = (
  cookie: bigint,
  type: number,
  payload: Buffer = Buffer.alloc(0),
  { done = true, length = payload.length }: ChunkFields = {}
): Buffer =>
  Buffer.concat([
    u32(NBD_STRUCTURED_REPLY_MAGIC),
    u16(done ? NBD_REPLY_FLAG_DONE : 0),
    u16(type),
    u64(cookie),
    u32(length),
    payload
  ])

interface ExtendedFields {
  done?: boolean
  /** Announced, where it differs from that of the payload. */
  length?: bigint | number
  magic?: number
}

/** @param offset of the request */
export const extendedChunk = (
  cookie: bigint,
  offset: bigint | number,
  type: number,
  payload: Buffer = Buffer.alloc(0),
  { done = true, length = payload.length, magic = NBD_EXTENDED_REPLY_MAGIC }: ExtendedFields = {}
): Buffer =>
  Buffer.concat([
    u32(magic),
    u16(done ? NBD_REPLY_FLAG_DONE : 0),
    u16(type),
    u64(cookie),
    u64(BigInt(offset)),
    u64(BigInt(length)),
    payload
  ])

export const dataPayload = (offset: bigint, data: Buffer): Buffer => Buffer.concat([u64(offset), data])
export const holePayload = (offset: bigint, length: number): Buffer =>
  Buffer.concat([u64(offset), u32(length)])
export const statusPayload = (id: number, ...numbers: number[]): Buffer =>
  Buffer.concat([id, ...numbers].map(u32))
/** @param numbers lengths and flags */
export const extendedStatusPayload = (
  id: number,
  numbers: (bigint | number)[],
  count = numbers.length / 2
): Buffer => Buffer.concat([u32(id), u32(count), ...numbers.map((number) => u64(BigInt(number)))])
export const errorPayload = (error: number, text = '', rest: Buffer = Buffer.alloc(0)): Buffer =>
  Buffer.concat([u32(error), u16(Buffer.byteLength(text)), Buffer.from(text), rest])

/** `length` bytes that differ from their neighbours. */
export const pattern = (length: number, start = 0): Buffer =>
  Buffer.from(Array.from({ length }, (_, i) => ((start + i) * 7 + 1) & 0xff))
