/**
 * Everything that can be wrong with a request before it is carried out, in one place.
 *
 * @see doc/proto.md "Request types", "Error values"; validate_request in nbdkit's server/protocol.c
 */
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_CACHE,
  NBD_CMD_FLAG_DF,
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_FLAG_PAYLOAD_LEN,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_EINVAL,
  NBD_ENOSPC,
  NBD_EPERM
} from '../../shared/protocol/constants.ts'
import { NBD_MAX_BUFFER_SIZE } from '../../shared/protocol/limits.ts'
import { nbdCmdLookup } from '../../shared/protocol/lookup.ts'
import { NBD_MODE_EXTENDED, NBD_MODE_STRUCTURED, type NBDMode } from '../../shared/protocol/nbd-mode.ts'
import type { RequestHeader } from '../../shared/protocol/messages/request.ts'

/** A request that is answered by an error: the value for the wire, and the reason in words. */
export interface RequestError {
  error: number
  reason: string
}

/** What is served, as far as validation must know it. */
export interface Served {
  size: number
  readOnly: boolean
  mode: NBDMode
  /** Some metadata context was negotiated. */
  blockStatus: boolean
}

const WRITES = new Set([NBD_CMD_WRITE, NBD_CMD_TRIM, NBD_CMD_WRITE_ZEROES])

/** Flags that each known command may carry. FUA is legal on all of them, since we advertise it. */
const allowedFlags = new Map<number, number>([
  [NBD_CMD_READ, NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_DF],
  [NBD_CMD_WRITE, NBD_CMD_FLAG_FUA],
  [NBD_CMD_FLUSH, NBD_CMD_FLAG_FUA],
  [NBD_CMD_TRIM, NBD_CMD_FLAG_FUA],
  [NBD_CMD_CACHE, NBD_CMD_FLAG_FUA],
  [NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO],
  [NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_REQ_ONE]
])

/** @returns undefined when the request may be carried out. Never called for NBD_CMD_DISC. */
export function validateRequest(request: RequestHeader, served: Served): RequestError | undefined {
  const { type, flags, offset, length } = request
  // The common case, in few comparisons.
  if (
    type === NBD_CMD_READ &&
    flags === 0 &&
    offset + length <= served.size &&
    length <= NBD_MAX_BUFFER_SIZE
  ) {
    return undefined
  }
  return findError(type, flags, offset, length, served)
}

function findError(
  type: number,
  flags: number,
  offset: number,
  length: number,
  { size, readOnly, mode, blockStatus }: Served
): RequestError | undefined {
  const command = nbdCmdLookup(type)
  const refuse = (error: number, reason: string): RequestError => ({ error, reason: `${command}: ${reason}` })

  const allowed = allowedFlags.get(type)
  if (allowed === undefined) return refuse(NBD_EINVAL, 'unknown command')
  if (mode === NBD_MODE_EXTENDED && (flags & NBD_CMD_FLAG_PAYLOAD_LEN) !== 0) {
    if (type !== NBD_CMD_WRITE)
      return refuse(NBD_EINVAL, 'the PAYLOAD_LEN flag does not belong to this command')
    flags &= ~NBD_CMD_FLAG_PAYLOAD_LEN
  }
  if ((flags & ~allowed) !== 0) {
    return refuse(NBD_EINVAL, `flags 0x${flags.toString(16)} do not belong to this command`)
  }
  if ((flags & NBD_CMD_FLAG_DF) !== 0 && type === NBD_CMD_READ && mode < NBD_MODE_STRUCTURED) {
    return refuse(NBD_EINVAL, 'the DF flag needs structured replies')
  }
  if (readOnly && WRITES.has(type)) return refuse(NBD_EPERM, 'the export is read-only')
  if (type === NBD_CMD_FLUSH) {
    return offset === 0 && length === 0 ? undefined : refuse(NBD_EINVAL, 'offset and length must be 0')
  }
  // Where a sum is not exact, it is beyond 2^53 - 1, and so refused: each of the two is at most that, or Infinity.
  if (offset + length > size) {
    return refuse(
      type === NBD_CMD_WRITE || type === NBD_CMD_WRITE_ZEROES ? NBD_ENOSPC : NBD_EINVAL,
      `${length} bytes at ${offset} go beyond the end of the export, which has ${size} bytes`
    )
  }
  if ((type === NBD_CMD_READ || type === NBD_CMD_WRITE) && length > NBD_MAX_BUFFER_SIZE) {
    return refuse(NBD_EINVAL, `${length} bytes are more than the maximum of ${NBD_MAX_BUFFER_SIZE}`)
  }
  if (type === NBD_CMD_BLOCK_STATUS) {
    if (!blockStatus) return refuse(NBD_EINVAL, 'no metadata context was negotiated')
    if (length === 0) return refuse(NBD_EINVAL, 'a length of 0 has no status')
  }
  return undefined
}
