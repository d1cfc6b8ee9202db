/**
 * NBD_OPT_ABORT: leaves before transmission. The acknowledgement is not waited for, which a server must bear; it would
 * tell nothing.
 */
import type { CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { NBD_OPT_ABORT } from '../../shared/protocol/constants.ts'
import type { OptionExchange } from './option-exchange.ts'

/** Never fails: a connection that is gone is left already. */
export function* optAbort(exchange: OptionExchange): CoroutineFn {
  try {
    yield* exchange.send(NBD_OPT_ABORT)
  } catch {
    // It need not hear it.
  }
}
