/** NBD_OPT_EXTENDED_HEADERS: requests and replies have headers of 32 bytes, and effects may have 64 bits. */
import { NBD_REP_ACK, NBD_REP_ERR_INVALID } from '../../shared/protocol/constants.ts'
import { NBD_MODE_EXTENDED } from '../../shared/protocol/nbd-mode.ts'
import type { OptionHandler } from './option-context.ts'

export const optExtendedHeaders: OptionHandler = function* ({ payload, state, reply, refuse }) {
  if (payload.length > 0) {
    yield* refuse(NBD_REP_ERR_INVALID, 'NBD_OPT_EXTENDED_HEADERS takes no payload')
  } else if (state.mode >= NBD_MODE_EXTENDED) {
    yield* refuse(NBD_REP_ERR_INVALID, 'extended headers are negotiated already')
  } else {
    state.mode = NBD_MODE_EXTENDED
    yield* reply(NBD_REP_ACK)
  }
  return 'go on'
}
