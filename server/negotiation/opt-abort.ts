/** NBD_OPT_ABORT: the client leaves. It may be gone before it reads the answer. */
import { NBD_REP_ACK } from '../../shared/protocol/constants.ts'
import type { OptionHandler } from './option-context.ts'

export const optAbort: OptionHandler = async ({ reply }) => {
  await reply(NBD_REP_ACK).catch(() => undefined)
  return 'end'
}
