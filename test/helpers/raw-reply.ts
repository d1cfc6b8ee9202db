/** Replies of the transmission phase as a client sees them, checked against the specification. */
import {
  NBD_CMD_READ,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_BLOCK_STATUS_EXT,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE
} from './raw-constants.ts'
import type { RawRequest } from './raw-wire.ts'

export interface RawChunk {
  flags: number
  type: number
  cookie: bigint
  /** Of an extended header: the offset of the request. */
  requestOffset?: bigint
  payload: Buffer
}

export interface RawExtent {
  length: number
  flags: number
}

/** A whole reply, in whichever form it came. */
export interface RawReply {
  cookie: bigint
  error: number
  /** Text of an error chunk. */
  message: string
  /** What a READ brought. */
  data: Buffer
  /** Of BLOCK_STATUS, by context id. */
  extents: Map<number, RawExtent[]>
  /** Empty for a simple reply. */
  chunks: RawChunk[]
}

const isContent = ({ type }: RawChunk): boolean =>
  type === NBD_REPLY_TYPE_OFFSET_DATA || type === NBD_REPLY_TYPE_OFFSET_HOLE

/** Checks the chunks of one reply against the specification, and puts the reply together. */
export function assemble(asked: RawRequest, chunks: RawChunk[]): RawReply {
  const offset = BigInt(asked.offset ?? 0)
  const length = asked.length ?? 0
  const covered: { start: number; end: number }[] = []
  const reply: RawReply = {
    cookie: chunks[0]!.cookie,
    error: 0,
    message: '',
    data: Buffer.alloc(asked.type === NBD_CMD_READ && chunks.some(isContent) ? length : 0),
    extents: new Map(),
    chunks
  }
  const content = (at: bigint, size: number): number => {
    const start = Number(at - offset)
    if (size === 0 || start < 0 || start + size > length)
      throw new Error('a content chunk outside the request')
    const end = start + size
    if (covered.some((other) => start < other.end && other.start < end)) throw new Error('overlapping chunks')
    covered.push({ start, end })
    return start
  }
  for (const { type, flags, cookie, requestOffset, payload } of chunks) {
    if (cookie !== reply.cookie) throw new Error('chunks with different cookies')
    const extended = requestOffset !== undefined
    if (extended && requestOffset !== offset) throw new Error(`a chunk with the offset ${requestOffset}`)
    if ((flags & ~NBD_REPLY_FLAG_DONE) !== 0) throw new Error(`chunk flags ${flags}`)
    if (type === NBD_REPLY_TYPE_NONE) {
      if (payload.length > 0 || flags === 0) throw new Error('a NONE chunk with payload, or without DONE')
    } else if (type === NBD_REPLY_TYPE_OFFSET_DATA) {
      const start = content(payload.readBigUInt64BE(0), payload.length - 8)
      payload.copy(reply.data, start, 8)
    } else if (type === NBD_REPLY_TYPE_OFFSET_HOLE) {
      if (payload.length !== 12) throw new Error(`a hole chunk of ${payload.length} bytes`)
      content(payload.readBigUInt64BE(0), payload.readUInt32BE(8))
    } else if (type === NBD_REPLY_TYPE_BLOCK_STATUS && !extended) {
      addExtents(reply, payload)
    } else if (type === NBD_REPLY_TYPE_BLOCK_STATUS_EXT && extended) {
      addExtendedExtents(reply, payload)
    } else if ((type & 0x8000) !== 0) {
      reply.error = payload.readUInt32BE(0)
      if (reply.error === 0) throw new Error('an error chunk without an error')
      const end = 6 + payload.readUInt16BE(4)
      if (end > payload.length) throw new Error('an error text that is longer than its chunk')
      reply.message = payload.toString('utf8', 6, end)
    } else {
      throw new Error(`chunk type ${type}`)
    }
  }
  const total = covered.reduce((sum, { start, end }) => sum + end - start, 0)
  if (asked.type === NBD_CMD_READ && reply.error === 0 && total !== length) {
    throw new Error(`success with ${total} of ${length} bytes`)
  }
  return reply
}

function addExtendedExtents(reply: RawReply, payload: Buffer): void {
  const [id, count] = [payload.readUInt32BE(0), payload.readUInt32BE(4)]
  if (reply.extents.has(id)) throw new Error(`two chunks for metadata context ${id}`)
  if (count === 0 || payload.length !== 8 + 16 * count)
    throw new Error(`a status chunk of ${payload.length} bytes with ${count} extents`)
  const extents: RawExtent[] = []
  for (let at = 8; at < payload.length; at += 16) {
    const [length, flags] = [payload.readBigUInt64BE(at), payload.readBigUInt64BE(at + 8)]
    extents.push({ length: Number(length), flags: Number(flags) })
  }
  if (extents.some(({ length }) => length === 0)) throw new Error('an extent without length')
  reply.extents.set(id, extents)
}

function addExtents(reply: RawReply, payload: Buffer): void {
  const id = payload.readUInt32BE(0)
  if (reply.extents.has(id)) throw new Error(`two chunks for metadata context ${id}`)
  if (payload.length < 12 || payload.length % 8 !== 4)
    throw new Error(`a status chunk of ${payload.length} bytes`)
  const extents: RawExtent[] = []
  for (let at = 4; at < payload.length; at += 8) {
    extents.push({ length: payload.readUInt32BE(at), flags: payload.readUInt32BE(at + 4) })
  }
  if (extents.some(({ length }) => length === 0)) throw new Error('an extent without length')
  reply.extents.set(id, extents)
}
