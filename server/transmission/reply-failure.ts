/** Requests that fail: what the log is told, and what the client. */
import { NBDError } from '../../shared/errors/nbd-error.ts'
import { errnoOf, reason } from '../../shared/errors/system-error.ts'
import { log } from '../../shared/log/log.ts'
import {
  NBD_CMD_FLAG_DF,
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_READ,
  NBD_CMD_WRITE_ZEROES
} from '../../shared/protocol/constants.ts'
import { nbdErrno } from '../../shared/protocol/errno-map.ts'
import { nbdCmdLookup } from '../../shared/protocol/lookup.ts'
import type { NBDRequest } from '../../shared/protocol/messages/request.ts'
import { EIO } from '../../shared/syscall/libc.ts'
import { replyError } from './reply.ts'
import type { Transmission } from './transmission.ts'
import type { RequestError } from './validate-request.ts'

/** Answers a request that is not carried out. */
export function replyRefusal(transmission: Transmission, request: NBDRequest, refusal: RequestError): void {
  const { mode, writer } = transmission
  log.debug({ error: refusal.error }, refusal.reason)
  replyError(writer, request, mode, refusal.error, refusal.reason)
}

/** Answers a request that has failed. */
export function replyFailure(transmission: Transmission, request: NBDRequest, error: unknown): void {
  const { mode, writer } = transmission
  const mayEnotsup = request.type === NBD_CMD_WRITE_ZEROES && (request.flags & NBD_CMD_FLAG_FAST_ZERO) !== 0
  const mayEoverflow = request.type === NBD_CMD_READ && (request.flags & NBD_CMD_FLAG_DF) !== 0
  const text = `${nbdCmdLookup(request.type)}: ${reason(error)}`
  if (!NBDError.is(error) || error.kind !== 'request') log.error({ err: error }, text)
  else log.debug(text)
  replyError(writer, request, mode, nbdErrno(errnoOf(error) ?? EIO, mayEnotsup, mayEoverflow), text)
}
