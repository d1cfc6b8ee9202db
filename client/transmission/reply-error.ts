/**
 * What a request fails with when the server answers it by an error.
 *
 * @see doc/proto.md "Error values"
 */
import { constants } from 'node:os'
import { NBDError } from '../../shared/errors/nbd-error.ts'
import { errnoText } from '../../shared/errors/system-error.ts'
import {
  NBD_EINVAL,
  NBD_EIO,
  NBD_ENOMEM,
  NBD_ENOSPC,
  NBD_ENOTSUP,
  NBD_EOVERFLOW,
  NBD_EPERM,
  NBD_ESHUTDOWN
} from '../../shared/protocol/constants.ts'
import { nbdErrLookup } from '../../shared/protocol/lookup.ts'
import { describe, type Command } from './pending-request.ts'

const { errno } = constants
/** Which node:os does not list. */
export const ESHUTDOWN = 108

const fromWire = new Map<number, number>([
  [NBD_EPERM, errno.EPERM],
  [NBD_EIO, errno.EIO],
  [NBD_ENOMEM, errno.ENOMEM],
  [NBD_EINVAL, errno.EINVAL],
  [NBD_ENOSPC, errno.ENOSPC],
  [NBD_EOVERFLOW, errno.EOVERFLOW],
  [NBD_ENOTSUP, errno.ENOTSUP],
  [NBD_ESHUTDOWN, ESHUTDOWN]
])

/**
 * @param wire an NBD_E value; one that the protocol does not know counts as NBD_EINVAL (R33)
 * @param message the server's text, printable; empty when there is none
 * @returns an error of kind `request`
 */
export function replyError(command: Command, wire: number, message: string): NBDError {
  const known = fromWire.get(wire)
  const systemErrno = known ?? errno.EINVAL
  const what = known === undefined ? nbdErrLookup(wire) : text(known)
  const detail = message === '' ? '' : ` (server: ${message})`
  return new NBDError('request', `${describe(command)}: ${what}${detail}`, { errno: systemErrno })
}

const text = (known: number): string =>
  known === ESHUTDOWN ? 'the server is shutting down' : errnoText(known)
