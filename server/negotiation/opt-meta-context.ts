/** NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT. */
import {
  NBD_OPT_SET_META_CONTEXT,
  NBD_REP_ACK,
  NBD_REP_ERR_INVALID,
  NBD_REP_ERR_TOO_BIG,
  NBD_REP_ERR_UNKNOWN,
  NBD_REP_META_CONTEXT
} from '../../shared/protocol/constants.ts'
import { nbdOptLookup } from '../../shared/protocol/lookup.ts'
import {
  decodeMetaContextQuery,
  encodeMetaContextReply
} from '../../shared/protocol/messages/meta-context.ts'
import { contextsOf, listContexts, selectContexts } from '../export/meta-context.ts'
import { NBD_MODE_STRUCTURED } from '../../shared/protocol/nbd-mode.ts'
import type { OptionHandler } from './option-context.ts'

export const optMetaContext: OptionHandler = function* ({ option, payload, state, reply, refuse }) {
  const isSet = option === NBD_OPT_SET_META_CONTEXT
  // Whatever comes of it, the choice that was made before is gone.
  if (isSet) state.contexts = undefined
  if (isSet && state.mode < NBD_MODE_STRUCTURED) {
    yield* refuse(NBD_REP_ERR_INVALID, 'NBD_OPT_SET_META_CONTEXT needs structured replies')
    return 'go on'
  }
  const request = decodeMetaContextQuery(payload)
  if ('problem' in request) {
    const error = request.tooBig ? NBD_REP_ERR_TOO_BIG : NBD_REP_ERR_INVALID
    yield* refuse(error, `${nbdOptLookup(option)}: ${request.problem}`)
    return 'go on'
  }
  const exp = state.exports.find(request.name)
  if (typeof exp === 'string') {
    yield* refuse(NBD_REP_ERR_UNKNOWN, exp)
    return 'go on'
  }

  const find = isSet ? selectContexts : listContexts
  const all = !isSet && request.queries.length === 0
  const found = new Set(all ? contextsOf(exp) : request.queries.flatMap((query) => find(exp, query)))
  if (isSet) state.contexts = { exp, selected: [...found] }
  for (const { id, name } of found) {
    // A listed context is not selected, and so has no id.
    yield* reply(NBD_REP_META_CONTEXT, encodeMetaContextReply(isSet ? id : 0, name))
  }
  yield* reply(NBD_REP_ACK)
  return 'go on'
}
