/** NBD_OPT_INFO and NBD_OPT_GO: what an export is; and, by GO, into transmission. */
import {
  NBD_INFO_DESCRIPTION,
  NBD_INFO_NAME,
  NBD_OPT_GO,
  NBD_REP_ACK,
  NBD_REP_ERR_INVALID,
  NBD_REP_ERR_UNKNOWN,
  NBD_REP_INFO
} from '../../shared/protocol/constants.ts'
import { nbdOptLookup } from '../../shared/protocol/lookup.ts'
import {
  encodeInfoBlockSize,
  encodeInfoExport,
  encodeInfoText
} from '../../shared/protocol/messages/export-info.ts'
import { decodeInfoRequest } from '../../shared/protocol/messages/info-request.ts'
import { NBD_MODE_STRUCTURED } from '../../shared/protocol/nbd-mode.ts'
import { transmit, type OptionHandler } from './option-context.ts'

export const optGo: OptionHandler = function* ({ option, payload, state, reply, refuse }) {
  const request = decodeInfoRequest(payload)
  if ('problem' in request) {
    yield* refuse(NBD_REP_ERR_INVALID, `${nbdOptLookup(option)}: ${request.problem}`)
    return 'go on'
  }
  const exp = state.exports.find(request.name)
  if (typeof exp === 'string') {
    yield* refuse(NBD_REP_ERR_UNKNOWN, exp)
    return 'go on'
  }
  yield* reply(NBD_REP_INFO, encodeInfoExport(exp.size, exp.flags(state.mode >= NBD_MODE_STRUCTURED)))
  if (request.infos.has(NBD_INFO_NAME)) yield* reply(NBD_REP_INFO, encodeInfoText(NBD_INFO_NAME, exp.name))
  if (request.infos.has(NBD_INFO_DESCRIPTION) && exp.description !== '') {
    yield* reply(NBD_REP_INFO, encodeInfoText(NBD_INFO_DESCRIPTION, exp.description))
  }
  // Always, as QEMU does: a client that did not ask may still profit.
  yield* reply(NBD_REP_INFO, encodeInfoBlockSize(exp.blockSizes))
  yield* reply(NBD_REP_ACK)
  return option === NBD_OPT_GO ? transmit(exp, state) : 'go on'
}
