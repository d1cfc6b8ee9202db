/** What a server may send in the transmission phase, and what we ask of it; and the reason for each bound. */
import { NBD_MAX_STRING_SIZE } from '../../shared/protocol/limits.ts'
import {
  NBD_EXTENDED_CONTEXT_SIZE,
  NBD_EXTENDED_EXTENT_SIZE
} from '../../shared/protocol/messages/extended-chunk.ts'
import {
  NBD_CHUNK_CONTEXT_SIZE,
  NBD_CHUNK_ERROR_SIZE,
  NBD_EXTENT_SIZE
} from '../../shared/protocol/messages/structured-chunk.ts'

const KiB = 1024
const GiB = 1024 * 1024 * KiB

/** Payload of an error chunk: error, text, offset, and as much again for fields of chunks that are yet to be invented. */
export const NBD_MAX_ERROR_CHUNK_SIZE = NBD_CHUNK_ERROR_SIZE + NBD_MAX_STRING_SIZE + 8 + NBD_MAX_STRING_SIZE

/** Payload of a BLOCK_STATUS or BLOCK_STATUS_EXT chunk: the specification's own bound of 2^20 extents. */
export const NBD_MAX_STATUS_CHUNK_SIZE = NBD_CHUNK_CONTEXT_SIZE + 2 ** 20 * NBD_EXTENT_SIZE
export const NBD_MAX_EXTENDED_STATUS_CHUNK_SIZE =
  NBD_EXTENDED_CONTEXT_SIZE + 2 ** 20 * NBD_EXTENDED_EXTENT_SIZE

/**
 * Pieces of a READ that do not touch each other, yet: what must be remembered to find overlaps and gaps. Data that
 * come in order are one piece; chunks of 512 bytes, the smallest that a server should send, of the largest request
 * in the worst order are fewer than this.
 */
export const NBD_MAX_FRAGMENTS = 64 * KiB

/**
 * TRIM, WRITE_ZEROES and BLOCK_STATUS in one compact request. They have no payload, so the protocol allows nearly 4 GiB;
 * but servers hold lengths in signed 32-bit integers, and a power of two fits every block size.
 */
export const NBD_MAX_EFFECT_LENGTH = GiB

/** Requests that one call has in flight when it is split. */
export const NBD_MAX_PARTS_IN_FLIGHT = 8

/** For sending NBD_CMD_DISC, in ms, behind what is still to be sent to a server that may have stopped reading. */
export const NBD_LEAVE_TIMEOUT_MS = 5000
