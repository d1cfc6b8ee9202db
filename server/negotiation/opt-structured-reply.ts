/** NBD_OPT_STRUCTURED_REPLY: from now on replies may come in chunks. */
import {
  NBD_REP_ACK,
  NBD_REP_ERR_EXT_HEADER_REQD,
  NBD_REP_ERR_INVALID
} from '../../shared/protocol/constants.ts'
import { NBD_MODE_EXTENDED, NBD_MODE_STRUCTURED } from '../../shared/protocol/nbd-mode.ts'
import type { OptionHandler } from './option-context.ts'

export const optStructuredReply: OptionHandler = function* ({ payload, state, reply, refuse }) {
  if (payload.length > 0) {
    yield* refuse(NBD_REP_ERR_INVALID, 'NBD_OPT_STRUCTURED_REPLY takes no payload')
  } else if (state.mode >= NBD_MODE_EXTENDED) {
    yield* refuse(NBD_REP_ERR_EXT_HEADER_REQD, 'extended headers are negotiated, and take precedence')
  } else if (state.mode >= NBD_MODE_STRUCTURED) {
    yield* refuse(NBD_REP_ERR_INVALID, 'structured replies are negotiated already')
  } else {
    state.mode = NBD_MODE_STRUCTURED
    yield* reply(NBD_REP_ACK)
  }
  return 'go on'
}
