/**
 * The client's half of the newstyle handshake.
 *
 * With TLS, that comes first. Fixed newstyle servers are asked for structured replies, the context base:allocation, and
 * the export by NBD_OPT_GO; what they refuse of the first two we do without. A server without NBD_OPT_GO, or without fixed
 * newstyle, where no option has a reply, is asked by NBD_OPT_EXPORT_NAME.
 *
 * @see doc/proto.md "Newstyle negotiation"; nbd_receive_negotiate in QEMU's nbd/client.c
 */
import { constants } from 'node:os'
import { NBDError, protocolError } from '../../shared/errors/nbd-error.ts'
import type { CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import type { QIOChannel } from '../../shared/io/channel.ts'
import type { TLSCreds } from '../../shared/io/tls-creds.ts'
import type { WindowReader } from '../../shared/io/window-reader.ts'
import { writeBytes } from '../../shared/io/write-bytes.ts'
import {
  NBD_FLAG_C_FIXED_NEWSTYLE,
  NBD_FLAG_C_NO_ZEROES,
  NBD_FLAG_FIXED_NEWSTYLE,
  NBD_FLAG_NO_ZEROES
} from '../../shared/protocol/constants.ts'
import { NBD_GREETING_SIZE } from '../../shared/protocol/messages/handshake.ts'
import { Memory } from '../../shared/syscall/memory.ts'
import { decodeGreeting, encodeClientFlags } from './messages.ts'
import { negotiated, type Negotiated } from './negotiated.ts'
import type { Negotiating } from './negotiating.ts'
import { optAbort } from './opt-abort.ts'
import { optExportName } from './opt-export-name.ts'
import { optGo } from './opt-go.ts'
import { optSetMetaContext } from './opt-set-meta-context.ts'
import { optStartTls } from './opt-starttls.ts'
import { optStructuredReply } from './opt-structured-reply.ts'
import { OptionExchange } from './option-exchange.ts'

const { ENOTSUP } = constants.errno

export interface NegotiationOptions {
  /** A string that the protocol can carry. */
  exportName: string
  /** What TLS is required with; absent: no TLS. */
  tls?: { creds: TLSCreds; hostname: string } | undefined
}

/** What a client would like to have, and can do without. */
export interface Wishes {
  /** Structured replies. */
  structured: boolean
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
  wishes: Wishes = { structured: true }
): CoroutineFn<Negotiated> {
  const { fixed, noZeroes } = yield* greet(connection.channel, connection.reader)
  let exchange = new OptionExchange(connection.channel, connection.reader)
  if (!fixed) {
    if (tls)
      throw new NBDError('request', 'the server has no TLS: it does not speak fixed newstyle', {
        errno: ENOTSUP
      })
    const { reader } = connection
    const description = yield* optExportName(exchange, reader, exportName, noZeroes)
    return negotiated(
      exportName,
      { handshake: 'newstyle', structured: false, allocationId: undefined },
      description
    )
  }
  try {
    if (tls) exchange = yield* optStartTls(connection, exchange, tls)
    const { reader } = connection
    const structured = wishes.structured && (yield* optStructuredReply(exchange))
    const allocationId = structured ? yield* optSetMetaContext(exchange, exportName) : undefined
    const description =
      (yield* optGo(exchange, exportName)) ?? (yield* optExportName(exchange, reader, exportName, noZeroes))
    return negotiated(exportName, { handshake: 'newstyle-fixed', structured, allocationId }, description)
  } catch (error) {
    // Only whom nothing stands in the way may just leave.
    if (NBDError.is(error) && error.kind === 'request') yield* optAbort(exchange)
    throw error
  }
}

function* greet(
  channel: QIOChannel,
  reader: WindowReader
): CoroutineFn<{ fixed: boolean; noZeroes: boolean }> {
  const memory = Memory.allocate(NBD_GREETING_SIZE)
  yield* reader.readAll(memory, 0, NBD_GREETING_SIZE)
  const flags = decodeGreeting(memory.buffer)
  if (typeof flags !== 'number') throw protocolError(flags.problem)
  const fixed = (flags & NBD_FLAG_FIXED_NEWSTYLE) !== 0
  const noZeroes = (flags & NBD_FLAG_NO_ZEROES) !== 0
  // A server must disconnect at a flag that it has not offered itself.
  const answer = (fixed ? NBD_FLAG_C_FIXED_NEWSTYLE : 0) | (noZeroes ? NBD_FLAG_C_NO_ZEROES : 0)
  yield* writeBytes(channel, encodeClientFlags(answer))
  return { fixed, noZeroes }
}
