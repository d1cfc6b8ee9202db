/** Splitting what is too long for one request. */
import { constants } from 'node:os'
import { NBDError } from '../../shared/errors/nbd-error.ts'
import { NBD_MAX_BUFFER_SIZE } from '../../shared/protocol/limits.ts'
import type { BlockSizes } from '../../shared/protocol/messages/export-info.ts'
import { NBD_MAX_PARTS_IN_FLIGHT } from './limits.ts'

/**
 * Longest READ or WRITE: what the server allows, in whole blocks, and no more than any server should bear, since one
 * that knows no bound may still have little memory.
 */
export const maxPayload = ({ minimum, maximum }: BlockSizes): number => {
  const allowed = Math.min(maximum, NBD_MAX_BUFFER_SIZE)
  return allowed - (allowed % minimum)
}

/**
 * Whether a request without payload may have failed for its length alone: a server may refuse one that costs it too much,
 * and shorter ones may do.
 *
 * @see doc/proto.md "Size constraints"; of QEMU's commands CACHE is one
 */
export const isTooLong = (error: unknown): boolean =>
  NBDError.is(error) &&
  error.kind === 'request' &&
  (error.errno === constants.errno.EINVAL || error.errno === constants.errno.EOVERFLOW)

/**
 * Calls `send` for each part of a range, several at a time. When one fails, no more are started.
 *
 * @param send gets the position relative to the range's start
 * @throws the first error, when all that were started have ended: nothing uses the caller's memory any more
 */
export const inParts = (
  length: number,
  max: number,
  send: (at: number, length: number) => Promise<unknown>
): Promise<unknown> => (length > 0 && length <= max ? send(0, length) : inSeveral(length, max, send))

/** A function of its own, so that one part costs no more than `send` does. */
async function inSeveral(
  length: number,
  max: number,
  send: (at: number, length: number) => Promise<unknown>
): Promise<void> {
  let at = 0
  let failed = false
  let failure: unknown
  const worker = async (): Promise<void> => {
    while (at < length && !failed) {
      const start = at
      const size = Math.min(max, length - start)
      at += size
      try {
        await send(start, size)
      } catch (error) {
        if (!failed) failure = error
        failed = true
      }
    }
  }
  const workers = Math.min(NBD_MAX_PARTS_IN_FLIGHT, Math.ceil(length / max))
  await Promise.all(Array.from({ length: workers }, worker))
  if (failed) throw failure
}
