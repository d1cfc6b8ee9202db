/** NBD_OPT_STRUCTURED_REPLY: replies may come in chunks, with texts and holes. */
import { NBD_OPT_STRUCTURED_REPLY } from '../../shared/protocol/constants.ts'
import { unexpectedReply, type OptionExchange } from './option-exchange.ts'

/** @returns false when the server has only simple replies */
export async function optStructuredReply(exchange: OptionExchange): Promise<boolean> {
  const refusal = await exchange.ask(NBD_OPT_STRUCTURED_REPLY, undefined, (type) => {
    throw unexpectedReply(NBD_OPT_STRUCTURED_REPLY, type)
  })
  return refusal === undefined
}
