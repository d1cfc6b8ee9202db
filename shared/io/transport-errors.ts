/** Errors of channels: the connection is of no use any more. */
import { NBDError } from '../errors/nbd-error.ts'
import { errnoText } from '../errors/system-error.ts'

/** Of a transfer on a channel that was closed here. */
export const closedError = (): NBDError => new NBDError('transport', 'the channel is closed')

/** @param what was tried, such as `sending` @param errno of the system call */
export const transportError = (what: string, errno: number): NBDError =>
  new NBDError('transport', `${what}: ${errnoText(errno)}`, { errno })

/** Whatever was thrown; what is an NBDError stays as it is. */
export const asTransportError = (error: unknown): NBDError =>
  NBDError.is(error) ? error : new NBDError('transport', String(error), { cause: error })
