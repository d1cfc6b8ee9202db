/** The options of fixed newstyle, from STARTTLS, where TLS is required, to the end of whatever is asked. */
import { constants } from 'node:os'
import type { CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { NBDError } from '../../shared/errors/nbd-error.ts'
import type { TLSCreds } from '../../shared/io/tls-creds.ts'
import type { Negotiating } from './negotiating.ts'
import { optAbort } from './opt-abort.ts'
import { optStartTls } from './opt-starttls.ts'
import { OptionExchange } from './option-exchange.ts'

/** What TLS is required with. */
export interface RequiredTLS {
  creds: TLSCreds
  hostname: string
}

/**
 * Sends options, and takes leave of a server that refuses what it is asked for.
 *
 * @param connection its channel and reader are others after STARTTLS
 * @param ask is called when options may be sent
 */
export function* haggle<T>(
  connection: Negotiating,
  tls: RequiredTLS | undefined,
  ask: (exchange: OptionExchange) => CoroutineFn<T>
): CoroutineFn<T> {
  let exchange = new OptionExchange(connection.channel, connection.reader)
  try {
    if (tls) exchange = yield* optStartTls(connection, exchange, tls)
    return yield* ask(exchange)
  } catch (error) {
    // Only whom nothing stands in the way may just leave.
    if (NBDError.is(error) && error.kind === 'request') yield* optAbort(exchange)
    throw error
  }
}

/** Of a server with another handshake, which has no options. */
export const withoutTls = (): NBDError =>
  new NBDError('request', 'the server has no TLS: it does not speak fixed newstyle', {
    errno: constants.errno.ENOTSUP
  })
