/** NBD_OPT_ABORT: the client leaves. It may be gone before it reads the answer. */
import { NBD_REP_ACK } from '../../shared/protocol/constants.ts'
import type { OptionHandler } from './option-context.ts'

export const optAbort: OptionHandler = function* ({ reply }) {
  try {
    yield* reply(NBD_REP_ACK)
  } catch {
    // The client need not wait for it.
  }
  return 'end'
}
