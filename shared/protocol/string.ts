/**
 * Strings of the protocol: UTF-8, no NUL, at most 4096 bytes, not terminated.
 *
 * @see doc/proto.md "Values"
 */
import { NBD_MAX_STRING_SIZE } from './limits.ts'

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * Decodes a string from the wire.
 *
 * @returns the string, or a sentence that says what is wrong with it, as `{ problem }`
 */
export function decodeString(bytes: Uint8Array): string | { problem: string } {
  if (bytes.length > NBD_MAX_STRING_SIZE) {
    return { problem: `is ${bytes.length} bytes long, more than ${NBD_MAX_STRING_SIZE}` }
  }
  if (bytes.includes(0)) return { problem: 'contains a NUL byte' }
  try {
    return utf8.decode(bytes)
  } catch {
    return { problem: 'is not UTF-8' }
  }
}

/**
 * Says what is wrong with a string that is to be sent, for checking a name or description when it is configured.
 *
 * @returns undefined when it can be sent
 */
export function stringProblem(text: string): string | undefined {
  const decoded = decodeString(Buffer.from(text, 'utf8'))
  return typeof decoded === 'string' ? undefined : decoded.problem
}

/** Cuts a text at a character border so that it fits the protocol's bound: for error messages. */
export function encodeTruncated(text: string): Buffer {
  const bytes = Buffer.from(text, 'utf8')
  if (bytes.length <= NBD_MAX_STRING_SIZE) return bytes
  let end = NBD_MAX_STRING_SIZE
  while (end > 0 && (bytes[end]! & 0xc0) === 0x80) end--
  return bytes.subarray(0, end)
}
