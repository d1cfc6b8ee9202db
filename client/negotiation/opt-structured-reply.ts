/** NBD_OPT_STRUCTURED_REPLY: replies may come in chunks, with texts and holes. */
import type { CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { NBD_OPT_STRUCTURED_REPLY } from '../../shared/protocol/constants.ts'
import { unexpectedReply, type OptionExchange } from './option-exchange.ts'

/** @returns false when the server has only simple replies */
export function* optStructuredReply(exchange: OptionExchange): CoroutineFn<boolean> {
  const refusal = yield* exchange.ask(NBD_OPT_STRUCTURED_REPLY, undefined, (type) => {
    throw unexpectedReply(NBD_OPT_STRUCTURED_REPLY, type)
  })
  return refusal === undefined
}
