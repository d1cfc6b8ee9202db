/** NBD_OPT_SET_META_CONTEXT: chooses what NBD_CMD_BLOCK_STATUS is to tell about. Needs structured replies. */
import type { CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { protocolError } from '../../shared/errors/nbd-error.ts'
import { NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT } from '../../shared/protocol/constants.ts'
import { encodeMetaContextQuery } from '../../shared/protocol/messages/meta-context.ts'
import { printable } from '../../shared/config/printable.ts'
import { decodeMetaContextReply } from './messages.ts'
import { unexpectedReply, type OptionExchange } from './option-exchange.ts'

export const BASE_ALLOCATION = 'base:allocation'

/** @returns the id that the server gave to the context `base:allocation`, or undefined when it has none */
export function* optSetMetaContext(
  exchange: OptionExchange,
  exportName: string
): CoroutineFn<number | undefined> {
  let id: number | undefined
  const query = encodeMetaContextQuery(exportName, [BASE_ALLOCATION])
  const refusal = yield* exchange.ask(NBD_OPT_SET_META_CONTEXT, query, (type, payload) => {
    if (type !== NBD_REP_META_CONTEXT) throw unexpectedReply(NBD_OPT_SET_META_CONTEXT, type)
    const reply = decodeMetaContextReply(payload)
    if ('problem' in reply) throw protocolError(`NBD_REP_META_CONTEXT: ${reply.problem}`)
    if (reply.context !== BASE_ALLOCATION) {
      throw protocolError(
        `the server chose the context '${printable(reply.context)}', which was not asked for`
      )
    }
    if (id !== undefined) throw protocolError(`the server chose the context ${BASE_ALLOCATION} twice`)
    id = reply.id
  })
  return refusal === undefined ? id : undefined
}
