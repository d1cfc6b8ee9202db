/**
 * The client's half of the newstyle handshake.
 *
 * Fixed newstyle servers are asked for structured replies, the context base:allocation, and the export by NBD_OPT_GO;
 * what they refuse of the first two we do without. A server without NBD_OPT_GO, or without fixed newstyle, where no
 * option has a reply, is asked by NBD_OPT_EXPORT_NAME.
 *
 * @see doc/proto.md "Newstyle negotiation"; nbd_receive_negotiate in QEMU's nbd/client.c
 */
import { NBDError, protocolError } from '../../shared/errors/nbd-error.ts'
import type { CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import type { QIOChannel } from '../../shared/io/channel.ts'
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
import { optAbort } from './opt-abort.ts'
import { optExportName } from './opt-export-name.ts'
import { optGo } from './opt-go.ts'
import { optSetMetaContext } from './opt-set-meta-context.ts'
import { optStructuredReply } from './opt-structured-reply.ts'
import { OptionExchange } from './option-exchange.ts'

/**
 * Negotiates with a server.
 *
 * @param exportName a string that the protocol can carry
 * @returns the export, in transmission
 * @throws NBDError of kind `request` when the server refuses, `protocol`, `transport`; the connection must be closed
 */
export function* negotiate(
  channel: QIOChannel,
  reader: WindowReader,
  exportName: string
): CoroutineFn<Negotiated> {
  const { fixed, noZeroes } = yield* greet(channel, reader)
  const exchange = new OptionExchange(channel, reader)
  if (!fixed) {
    const description = yield* optExportName(exchange, reader, exportName, noZeroes)
    return negotiated(
      exportName,
      { handshake: 'newstyle', structured: false, allocationId: undefined },
      description
    )
  }
  try {
    const structured = yield* optStructuredReply(exchange)
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
