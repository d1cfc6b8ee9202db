/**
 * NBD_OPT_ABORT: leaves before transmission. The acknowledgement is not waited for, which a server must bear; it would
 * tell nothing.
 */
import { NBD_OPT_ABORT } from '../../shared/protocol/constants.ts'
import type { OptionExchange } from './option-exchange.ts'

/** Never fails: a connection that is gone is left already. */
export async function optAbort(exchange: OptionExchange): Promise<void> {
  await exchange.send(NBD_OPT_ABORT).catch(() => undefined)
}
