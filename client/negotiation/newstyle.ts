/**
 * The client's half of the handshake.
 *
 * With TLS, that comes first. Fixed newstyle servers are asked for extended headers or else structured replies, metadata
 * contexts, and the export by NBD_OPT_GO; what they refuse of the first ones we do without. A server without NBD_OPT_GO, or
 * without fixed newstyle, where no option has a reply, is asked by NBD_OPT_EXPORT_NAME. A server of the oldstyle is not
 * asked anything.
 *
 * @see doc/proto.md "Newstyle negotiation"; nbd_receive_negotiate in QEMU's nbd/client.c
 */
import { constants } from 'node:os'
import type { CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { NBDError, protocolError } from '../../shared/errors/nbd-error.ts'
import { NBD_MODE_EXTENDED, NBD_MODE_STRUCTURED, type NBDMode } from '../../shared/protocol/nbd-mode.ts'
import { greet } from './greeting.ts'
import { haggle, withoutTls, type RequiredTLS } from './haggle.ts'
import type { ExportInfo } from './messages.ts'
import { negotiated, plainTerms, type Negotiated } from './negotiated.ts'
import type { Negotiating } from './negotiating.ts'
import { optExportName } from './opt-export-name.ts'
import { optGo } from './opt-go.ts'
import { optHeaders } from './opt-headers.ts'
import { optListMetaContext, optSetMetaContext } from './opt-meta-context.ts'
import type { OptionExchange } from './option-exchange.ts'

export interface NegotiationOptions {
  /** A string that the protocol can carry. */
  exportName: string
  /** Absent: no TLS. */
  tls?: RequiredTLS | undefined
}

/** What a client would like to have, and can do without. */
export interface Wishes {
  /** The best that is asked for. */
  mode: NBDMode
  /** What BLOCK_STATUS is to tell about, each context once. Needs replies in chunks. */
  metaContexts?: readonly string[]
  /** To be told which contexts the export has. Needs replies in chunks, without which they are of no use. */
  listContexts?: boolean | undefined
}

/**
 * Negotiates with a server.
 *
 * @param connection its channel and reader are others after STARTTLS
 * @returns the export, in transmission
 * @throws NBDError of kind `request` when the server refuses, `protocol`, `transport`; the connection must be closed
 */
export function* negotiate(
  connection: Negotiating,
  { exportName, tls }: NegotiationOptions,
  wishes: Wishes
): CoroutineFn<Negotiated> {
  const greeting = yield* greet(connection)
  if (greeting.style !== 'newstyle-fixed' && tls) throw withoutTls()
  if (greeting.style === 'oldstyle') return oldstyle(exportName, greeting.info)
  const { style, noZeroes } = greeting
  const byName = (exchange: OptionExchange) =>
    optExportName(exchange, connection.reader, exportName, noZeroes)
  if (style === 'newstyle')
    return negotiated(exportName, plainTerms(style), yield* haggle(connection, tls, byName))
  return yield* haggle(connection, tls, function* (exchange) {
    const mode = yield* optHeaders(exchange, wishes.mode)
    const chunks = mode >= NBD_MODE_STRUCTURED
    const offeredContexts =
      chunks && wishes.listContexts ? yield* optListMetaContext(exchange, exportName) : undefined
    const { metaContexts = [] } = wishes
    const contexts =
      chunks && metaContexts.length > 0
        ? yield* optSetMetaContext(exchange, exportName, metaContexts)
        : new Map<number, string>()
    const going = yield* optGo(exchange, exportName)
    if (!going && mode >= NBD_MODE_EXTENDED)
      throw protocolError('a server with extended headers does not know NBD_OPT_GO')
    const description = going ?? (yield* byName(exchange))
    return negotiated(exportName, { handshake: style, mode, contexts, offeredContexts }, description)
  })
}

/** There is one export, and it has no name. */
function oldstyle(exportName: string, info: ExportInfo): Negotiated {
  if (exportName !== '') {
    const text = `the server speaks the oldstyle handshake, which knows no names: it has no export '${exportName}'`
    throw new NBDError('request', text, { errno: constants.errno.ENOENT })
  }
  const untold = { name: undefined, description: undefined, blockSizes: undefined }
  return negotiated('', plainTerms('oldstyle'), { ...info, ...untold })
}
