/**
 * Frames of the WebSocket protocol.
 *
 * @see RFC 6455, section 5.2
 */
import { NBDError } from '../errors/nbd-error.ts'

export const OPCODE_CONTINUATION = 0x0
export const OPCODE_BINARY = 0x2
export const OPCODE_CLOSE = 0x8
export const OPCODE_PING = 0x9
export const OPCODE_PONG = 0xa

/** Why a connection is closed. @see RFC 6455, section 7.4.1 */
export const CLOSE_NORMAL = 1000
export const CLOSE_PROTOCOL_ERROR = 1002
export const CLOSE_UNSUPPORTED_DATA = 1003
export const CLOSE_TOO_BIG = 1009

/** Payload of a control frame. */
export const MAX_CONTROL_SIZE = 125
/** 2 flags, opcode and short length; 8 long length; 4 mask. */
export const MAX_HEADER_SIZE = 14

/** Only a client masks what it sends. */
export type WebsockSide = 'server' | 'client'

const FIN = 0x80
const RSV = 0x70
const OPCODE = 0x0f
const CONTROL = 0x08
const MASKED = 0x80
const LENGTH = 0x7f
const LENGTH_16 = 126
const LENGTH_64 = 127
const MASK_SIZE = 4

/** The peer broke the protocol; it is told so by the code. */
export class WebsockViolation extends NBDError {
  readonly code: number

  constructor(code: number, message: string) {
    super('transport', `WebSocket: ${message}`)
    this.code = code
  }
}

const violation = (message: string): WebsockViolation => new WebsockViolation(CLOSE_PROTOCOL_ERROR, message)

export interface FrameHeader {
  fin: boolean
  opcode: number
  /** Four bytes, where there is a mask. */
  mask: Uint8Array | undefined
  /** Of the payload, in bytes. */
  length: number
  headerSize: number
}

export const isControl = (opcode: number): boolean => (opcode & CONTROL) !== 0

/**
 * Reads the header at the beginning of `bytes`.
 *
 * @returns undefined when it is not all there
 * @throws WebsockViolation for what no frame may be
 */
export function parseFrameHeader(bytes: Buffer): FrameHeader | undefined {
  if (bytes.length < 2) return undefined
  const fin = (bytes[0]! & FIN) !== 0
  const opcode = bytes[0]! & OPCODE
  const short = bytes[1]! & LENGTH
  const masked = (bytes[1]! & MASKED) !== 0
  if ((bytes[0]! & RSV) !== 0) throw violation('a frame has reserved bits')
  if (isControl(opcode) && (!fin || short > MAX_CONTROL_SIZE)) {
    throw violation('a control frame is fragmented, or too long')
  }
  const lengthSize = short === LENGTH_16 ? 2 : short === LENGTH_64 ? 8 : 0
  const headerSize = 2 + lengthSize + (masked ? MASK_SIZE : 0)
  if (bytes.length < headerSize) return undefined
  const length = lengthSize === 0 ? short : longLength(bytes, lengthSize)
  const mask = masked ? Uint8Array.from(bytes.subarray(headerSize - MASK_SIZE, headerSize)) : undefined
  return { fin, opcode, mask, length, headerSize }
}

function longLength(bytes: Buffer, size: 2 | 8): number {
  const length =
    size === 2 ? bytes.readUInt16BE(2) : bytes.readUInt32BE(2) * 0x100000000 + bytes.readUInt32BE(6)
  if (length < (size === 2 ? LENGTH_16 : 0x10000)) throw violation('the length of a frame is not minimal')
  return length
}

/**
 * Writes the header of a frame that is not a fragment.
 *
 * @param mask four bytes, of a client; undefined for a server
 * @returns its size, at most MAX_HEADER_SIZE
 */
export function writeFrameHeader(
  buffer: Buffer,
  at: number,
  opcode: number,
  length: number,
  mask: Uint8Array | undefined
): number {
  buffer[at] = FIN | opcode
  const masked = mask ? MASKED : 0
  let size = 2
  if (length < LENGTH_16) {
    buffer[at + 1] = masked | length
  } else if (length < 0x10000) {
    buffer[at + 1] = masked | LENGTH_16
    size = buffer.writeUInt16BE(length, at + 2) - at
  } else {
    buffer[at + 1] = masked | LENGTH_64
    buffer.writeUInt32BE(Math.floor(length / 0x100000000), at + 2)
    size = buffer.writeUInt32BE(length % 0x100000000, at + 6) - at
  }
  if (mask) {
    buffer.set(mask, at + size)
    size += MASK_SIZE
  }
  return size
}

/**
 * Masks bytes of a payload, or takes the mask away.
 *
 * @param phase where in the payload `start` is
 */
export function applyMask(
  bytes: Uint8Array,
  start: number,
  end: number,
  mask: Uint8Array,
  phase: number
): void {
  for (let i = start; i < end; i++) bytes[i]! ^= mask[(phase + i - start) & 3]!
}
