/**
 * Netlink messages and their attributes, in the byte order of x86_64 and arm64.
 *
 *   nlmsghdr    0  4  length, with this header
 *               4  2  type
 *               6  2  flags
 *               8  4  sequence number
 *              12  4  port
 *   genlmsghdr  0  1  command
 *               1  1  version
 *               2  2  0
 *   nlattr      0  2  length, with this header, without the padding behind it to a multiple of 4
 *               2  2  type, and two bits
 *
 * @see linux/netlink.h, linux/genetlink.h
 */
import { protocolError } from '../../shared/errors/nbd-error.ts'

export const NLMSG_ERROR = 2
const NLM_F_REQUEST = 1
const NLM_F_ACK = 4
/** The request is not repeated behind the error. */
const NLM_F_CAPPED = 0x100
/** Attributes follow. */
const NLM_F_ACK_TLVS = 0x200
const NLMSGERR_ATTR_MSG = 1

const NLMSG_HEADER_SIZE = 4 + 2 + 2 + 4 + 4
const NLMSG_LENGTH = 0
const NLMSG_TYPE = 4
const NLMSG_FLAGS = 6
const NLMSG_SEQUENCE = 8
const GENL_HEADER_SIZE = 1 + 1 + 2
const ERROR_SIZE = 4
const NLA_HEADER_SIZE = 2 + 2
const NLA_F_NESTED = 0x8000
const NLA_TYPE_MASK = 0x3fff

const align = (length: number): number => (length + 3) & ~3

/** A number of 4 bytes, one of 8, a text, or attributes within. */
export type AttributeValue = { u32: number } | { u64: bigint } | { text: string } | { nested: Attribute[] }

export interface Attribute {
  type: number
  value: AttributeValue
}

export function encodeAttributes(attributes: readonly Attribute[]): Buffer {
  return Buffer.concat(
    attributes.map(({ type, value }) => {
      const content = encodeValue(value)
      const buffer = Buffer.alloc(align(NLA_HEADER_SIZE + content.length))
      buffer.writeUInt16LE(NLA_HEADER_SIZE + content.length, 0)
      buffer.writeUInt16LE('nested' in value ? type | NLA_F_NESTED : type, 2)
      content.copy(buffer, NLA_HEADER_SIZE)
      return buffer
    })
  )
}

function encodeValue(value: AttributeValue): Buffer {
  if ('nested' in value) return encodeAttributes(value.nested)
  if ('text' in value) return Buffer.from(`${value.text}\0`)
  const buffer = Buffer.alloc('u32' in value ? 4 : 8)
  if ('u32' in value) buffer.writeUInt32LE(value.u32, 0)
  else buffer.writeBigUInt64LE(value.u64, 0)
  return buffer
}

/**
 * Contents by type; of several of one type the last.
 *
 * @throws NBDError of kind `protocol`
 */
export const decodeAttributes = (buffer: Buffer): Map<number, Buffer> => new Map(attributeList(buffer))

/** In order. @throws NBDError of kind `protocol` */
export function attributeList(buffer: Buffer): [type: number, content: Buffer][] {
  const found: [number, Buffer][] = []
  for (let at = 0; at + NLA_HEADER_SIZE <= buffer.length;) {
    const length = buffer.readUInt16LE(at)
    if (length < NLA_HEADER_SIZE || at + length > buffer.length) {
      throw protocolError(`a netlink attribute of ${length} bytes where there are ${buffer.length - at}`)
    }
    found.push([
      buffer.readUInt16LE(at + 2) & NLA_TYPE_MASK,
      buffer.subarray(at + NLA_HEADER_SIZE, at + length)
    ])
    at += align(length)
  }
  return found
}

export interface GenericRequest {
  /** Of the family. */
  type: number
  sequence: number
  command: number
  version: number
  attributes: readonly Attribute[]
}

/** A request that is to be acknowledged. */
export function encodeRequest({ type, sequence, command, version, attributes }: GenericRequest): Buffer {
  const content = encodeAttributes(attributes)
  const buffer = Buffer.alloc(NLMSG_HEADER_SIZE + GENL_HEADER_SIZE + content.length)
  buffer.writeUInt32LE(buffer.length, NLMSG_LENGTH)
  buffer.writeUInt16LE(type, NLMSG_TYPE)
  buffer.writeUInt16LE(NLM_F_REQUEST | NLM_F_ACK, NLMSG_FLAGS)
  buffer.writeUInt32LE(sequence, NLMSG_SEQUENCE)
  buffer.writeUInt8(command, NLMSG_HEADER_SIZE)
  buffer.writeUInt8(version, NLMSG_HEADER_SIZE + 1)
  content.copy(buffer, NLMSG_HEADER_SIZE + GENL_HEADER_SIZE)
  return buffer
}

export interface NetlinkMessage {
  type: number
  sequence: number
  flags: number
  payload: Buffer
}

/** Messages of a datagram. @throws NBDError of kind `protocol` */
export function decodeMessages(datagram: Buffer): NetlinkMessage[] {
  const messages: NetlinkMessage[] = []
  for (let at = 0; at < datagram.length;) {
    const rest = datagram.length - at
    const length = rest < NLMSG_HEADER_SIZE ? 0 : datagram.readUInt32LE(at + NLMSG_LENGTH)
    if (length < NLMSG_HEADER_SIZE || length > rest) {
      throw protocolError(`a netlink message of ${length} bytes where there are ${rest}`)
    }
    messages.push({
      type: datagram.readUInt16LE(at + NLMSG_TYPE),
      flags: datagram.readUInt16LE(at + NLMSG_FLAGS),
      sequence: datagram.readUInt32LE(at + NLMSG_SEQUENCE),
      payload: datagram.subarray(at + NLMSG_HEADER_SIZE, at + length)
    })
    at += align(length)
  }
  return messages
}

/** What a generic message says. @throws NBDError of kind `protocol` */
export function decodeGeneric({ payload }: NetlinkMessage): {
  command: number
  attributes: Map<number, Buffer>
} {
  if (payload.length < GENL_HEADER_SIZE) throw protocolError('a generic netlink message without a header')
  return { command: payload.readUInt8(0), attributes: decodeAttributes(payload.subarray(GENL_HEADER_SIZE)) }
}

/**
 * What a message of type NLMSG_ERROR says.
 *
 * @returns `errno` 0 when it is an acknowledgement; `text` where the kernel has words for the error
 * @throws NBDError of kind `protocol`
 */
export function decodeError({ flags, payload }: NetlinkMessage): { errno: number; text: string | undefined } {
  if (payload.length < ERROR_SIZE + NLMSG_HEADER_SIZE) throw protocolError('a netlink error that is cut off')
  const errno = -payload.readInt32LE(0)
  if ((flags & NLM_F_ACK_TLVS) === 0) return { errno, text: undefined }
  const repeated = (flags & NLM_F_CAPPED) === 0 ? payload.readUInt32LE(ERROR_SIZE) : NLMSG_HEADER_SIZE
  const words = decodeAttributes(payload.subarray(ERROR_SIZE + align(repeated))).get(NLMSGERR_ATTR_MSG)
  return { errno, text: words && textOf(words) }
}

/** Without the NUL at its end. */
export const textOf = (content: Buffer): string => content.toString('utf8').replace(/\0+$/, '')
