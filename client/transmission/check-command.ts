/**
 * Everything that can be wrong with a request before it is sent: a server is asked for nothing that it has not
 * offered, and nothing that its block sizes forbid (R27, R45).
 *
 * @see nbd_unlocked_aio_pread and its like in libnbd's lib/rw.c, "strict mode"
 */
import { constants } from 'node:os'
import { printable } from '../../shared/config/printable.ts'
import { NBDError } from '../../shared/errors/nbd-error.ts'
import {
  BASE_ALLOCATION,
  NBD_CMD_CACHE,
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLUSH,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_FLAG_READ_ONLY,
  NBD_FLAG_SEND_CACHE,
  NBD_FLAG_SEND_FAST_ZERO,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_FUA,
  NBD_FLAG_SEND_TRIM,
  NBD_FLAG_SEND_WRITE_ZEROES
} from '../../shared/protocol/constants.ts'
import type { Negotiated } from '../negotiation/negotiated.ts'
import { describe, type Command } from './pending-request.ts'

const { EINVAL, ENOTSUP, EPERM } = constants.errno

const WRITES = new Set([NBD_CMD_WRITE, NBD_CMD_TRIM, NBD_CMD_WRITE_ZEROES])

/** What the server must have offered, for commands and for their flags. */
const offers = new Map<number, number>([
  [NBD_CMD_FLUSH, NBD_FLAG_SEND_FLUSH],
  [NBD_CMD_TRIM, NBD_FLAG_SEND_TRIM],
  [NBD_CMD_CACHE, NBD_FLAG_SEND_CACHE],
  [NBD_CMD_WRITE_ZEROES, NBD_FLAG_SEND_WRITE_ZEROES]
])

/**
 * @param minimum what offset and length must be multiples of
 * @throws NBDError of kind `request`, with errno
 */
export function checkCommand(
  command: Command,
  negotiated: Negotiated,
  minimum = negotiated.blockSizes.minimum
): void {
  const refuse = (errno: number, why: string): NBDError =>
    new NBDError('request', `${describe(command)}: ${why}`, { errno })
  const { type, flags, offset, length } = command

  // Before all else: what follows calculates with them.
  if (!isByteCount(offset) || !isByteCount(length))
    throw refuse(EINVAL, 'offset and length must be whole numbers from 0 to 2^53 - 1')
  if (WRITES.has(type) && (negotiated.flags & NBD_FLAG_READ_ONLY) !== 0)
    throw refuse(EPERM, 'the export is read-only')
  const offer = offers.get(type)
  if (offer !== undefined && (negotiated.flags & offer) === 0)
    throw refuse(ENOTSUP, 'the server does not offer this')
  if ((flags & NBD_CMD_FLAG_FUA) !== 0 && (negotiated.flags & NBD_FLAG_SEND_FUA) === 0)
    throw refuse(ENOTSUP, 'the server does not offer FUA')
  if ((flags & NBD_CMD_FLAG_FAST_ZERO) !== 0 && (negotiated.flags & NBD_FLAG_SEND_FAST_ZERO) === 0)
    throw refuse(ENOTSUP, 'the server does not offer fast zeroing')
  // In this form nothing can overflow.
  if (offset > negotiated.size || length > negotiated.size - offset)
    throw refuse(EINVAL, `goes beyond the end of the export, which has ${negotiated.size} bytes`)
  if (offset % minimum !== 0 || length % minimum !== 0)
    throw refuse(EINVAL, `offset and length must be multiples of the server's minimum block size, ${minimum}`)
}

/**
 * As `checkCommand`, for BLOCK_STATUS.
 *
 * @param wanted contexts that it is to tell about
 */
export function checkStatus(
  command: Command,
  wanted: Iterable<string>,
  negotiated: Negotiated,
  minimum: number
): void {
  checkCommand(command, negotiated, minimum)
  const there = new Set(negotiated.contexts.values())
  for (const context of there.size === 0 ? [BASE_ALLOCATION, ...wanted] : wanted) {
    if (there.has(context)) continue
    const text = `the server does not offer ${printable(context)}, or was not asked for it at the start`
    throw new NBDError('request', `${describe(command)}: ${text}`, { errno: ENOTSUP })
  }
}

const isByteCount = (value: number): boolean => Number.isSafeInteger(value) && value >= 0
