/**
 * What a server has: its exports, and what each is. Ends without transmission.
 *
 * @see doc/proto.md "NBD_OPT_LIST", "NBD_OPT_INFO"
 */
import { constants } from 'node:os'
import type { CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { NBDError } from '../../shared/errors/nbd-error.ts'
import { NBD_ESHUTDOWN } from '../../shared/protocol/constants.ts'
import { NBD_MODE_STRUCTURED, type NBDMode } from '../../shared/protocol/nbd-mode.ts'
import { greet } from './greeting.ts'
import { haggle, withoutTls, type RequiredTLS } from './haggle.ts'
import { negotiated, type Negotiated, type Terms } from './negotiated.ts'
import type { Negotiating } from './negotiating.ts'
import { optAbort } from './opt-abort.ts'
import { optInfo } from './opt-go.ts'
import { optHeaders } from './opt-headers.ts'
import { optList, type NamedExport } from './opt-list.ts'
import { optListMetaContext } from './opt-meta-context.ts'
import type { OptionExchange } from './option-exchange.ts'

export interface ListedExport extends NamedExport {
  /** Undefined when the server does not tell more than the list has. */
  details?: Negotiated | undefined
  /** Why it does not, when it refused. */
  refusal?: NBDError
}

export interface Listing {
  terms: Terms
  exports: ListedExport[]
}

/**
 * Asks for the list and for each export on it, and takes leave.
 *
 * @throws NBDError of kind `request` when the server does not list its exports, `protocol`, `transport`
 */
export function* negotiateListing(
  connection: Negotiating,
  { tls }: { tls?: RequiredTLS | undefined },
  wishes: { mode: NBDMode }
): CoroutineFn<Listing> {
  const { style } = yield* greet(connection)
  if (style !== 'newstyle-fixed') {
    if (tls) throw withoutTls()
    const text = `the server does not list its exports: its handshake, ${style}, has no way to`
    throw new NBDError('request', text, { errno: constants.errno.ENOTSUP })
  }
  return yield* haggle(connection, tls, function* (exchange) {
    // What replies have to do with it: without chunks there is no DF, and contexts are of no use.
    const mode = yield* optHeaders(exchange, wishes.mode)
    const terms: Terms = { handshake: style, mode, contexts: new Map() }
    const exports: ListedExport[] = []
    for (const named of yield* optList(exchange)) exports.push(yield* inspect(exchange, named, terms))
    yield* optAbort(exchange)
    return { terms, exports }
  })
}

function* inspect(exchange: OptionExchange, named: NamedExport, terms: Terms): CoroutineFn<ListedExport> {
  try {
    const description = yield* optInfo(exchange, named.name)
    if (!description) return named
    const offeredContexts =
      terms.mode >= NBD_MODE_STRUCTURED ? yield* optListMetaContext(exchange, named.name) : undefined
    const details = negotiated(named.name, { ...terms, offeredContexts }, description)
    return { ...named, details }
  } catch (error) {
    // That it refuses one export says nothing about the others; but whom a server asks to leave must leave.
    const mayGoOn = NBDError.is(error) && error.kind === 'request' && error.errno !== NBD_ESHUTDOWN
    if (!mayGoOn) throw error
    return { ...named, refusal: error }
  }
}
