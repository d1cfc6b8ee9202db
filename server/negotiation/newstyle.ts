/**
 * The server's half of the newstyle handshake.
 *
 * @see doc/proto.md "Fixed newstyle negotiation"; nbd_negotiate in QEMU's nbd/server.c
 */
import { protocolError } from '../../shared/errors/nbd-error.ts'
import type { CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import type { QIOChannel } from '../../shared/io/channel.ts'
import { QIOChannelSocket } from '../../shared/io/channel-socket.ts'
import type { WindowReader } from '../../shared/io/window-reader.ts'
import { writeBytes } from '../../shared/io/write-bytes.ts'
import { log } from '../../shared/log/log.ts'
import {
  NBD_FLAG_C_FIXED_NEWSTYLE,
  NBD_FLAG_C_NO_ZEROES,
  NBD_FLAG_FIXED_NEWSTYLE,
  NBD_FLAG_NO_ZEROES,
  NBD_OPT_ABORT,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_EXTENDED_HEADERS,
  NBD_OPT_GO,
  NBD_OPT_INFO,
  NBD_OPT_LIST,
  NBD_OPT_LIST_META_CONTEXT,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STARTTLS,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ERR_TLS_REQD,
  NBD_REP_ERR_TOO_BIG,
  NBD_REP_ERR_UNSUP
} from '../../shared/protocol/constants.ts'
import {
  NBD_MAX_OPTION_DRAIN_SIZE,
  NBD_MAX_OPTION_SIZE,
  NBD_MAX_OPTIONS
} from '../../shared/protocol/limits.ts'
import { nbdOptLookup, nbdRepLookup } from '../../shared/protocol/lookup.ts'
import {
  decodeClientFlags,
  encodeGreeting,
  NBD_CLIENT_FLAGS_SIZE
} from '../../shared/protocol/messages/handshake.ts'
import { encodeOptionReply } from '../../shared/protocol/messages/option-reply.ts'
import { decodeOptionRequest, NBD_OPTION_SIZE } from '../../shared/protocol/messages/option-request.ts'
import { encodeTruncated } from '../../shared/protocol/string.ts'
import { Memory } from '../../shared/syscall/memory.ts'
import type { ExportTable } from '../export/export-table.ts'
import { optAbort } from './opt-abort.ts'
import { optExportName } from './opt-export-name.ts'
import { optExtendedHeaders } from './opt-extended-headers.ts'
import { optGo } from './opt-go.ts'
import { optList } from './opt-list.ts'
import { optMetaContext } from './opt-meta-context.ts'
import { optStartTls } from './opt-starttls.ts'
import { optStructuredReply } from './opt-structured-reply.ts'
import {
  newState,
  type Negotiated,
  type Negotiating,
  type NegotiationState,
  type OptionContext,
  type OptionHandler,
  type OptionResult
} from './option-context.ts'

const handlers = new Map<number, OptionHandler>([
  [NBD_OPT_ABORT, optAbort],
  [NBD_OPT_LIST, optList],
  [NBD_OPT_INFO, optGo],
  [NBD_OPT_GO, optGo],
  [NBD_OPT_STRUCTURED_REPLY, optStructuredReply],
  [NBD_OPT_EXTENDED_HEADERS, optExtendedHeaders],
  [NBD_OPT_LIST_META_CONTEXT, optMetaContext],
  [NBD_OPT_SET_META_CONTEXT, optMetaContext]
])

/**
 * Negotiates with one client.
 *
 * @param connection its channel and reader are others after STARTTLS
 * @param exports what it may choose from
 * @returns what to serve, or undefined when the client has left
 * @throws NBDError of kind `protocol` or `transport`: the connection must be closed
 */
export function* negotiate(
  connection: Negotiating,
  exports: ExportTable
): CoroutineFn<Negotiated | undefined> {
  let { channel, reader } = connection
  const header = Memory.allocate(NBD_OPTION_SIZE)
  yield* writeBytes(channel, encodeGreeting(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES))
  if (!(yield* reader.readAllEof(header, 0, NBD_CLIENT_FLAGS_SIZE))) return undefined
  const flags = decodeClientFlags(header.buffer)
  if ((flags & ~(NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES)) !== 0) {
    throw protocolError(`unknown client flags 0x${flags.toString(16)}`)
  }
  const fixed = (flags & NBD_FLAG_C_FIXED_NEWSTYLE) !== 0
  const noZeroes = (flags & NBD_FLAG_C_NO_ZEROES) !== 0
  let state = newState(exports, noZeroes)

  for (let count = 0; count < NBD_MAX_OPTIONS; count++) {
    if (!(yield* reader.readAllEof(header, 0, NBD_OPTION_SIZE))) return undefined
    const request = decodeOptionRequest(header.buffer)
    if (!request) throw protocolError(`wrong option magic 0x${header.buffer.toString('hex', 0, 8)}`)
    const { option, length } = request
    if (!fixed && option !== NBD_OPT_EXPORT_NAME) {
      throw protocolError(`${nbdOptLookup(option)} from a client that does not speak fixed newstyle`)
    }
    if (length > NBD_MAX_OPTION_DRAIN_SIZE) {
      throw protocolError(`${nbdOptLookup(option)} announces ${length} bytes of payload`)
    }
    if (option === NBD_OPT_STARTTLS) {
      yield* reader.discard(length)
      if (yield* optStartTls(connection, exports.tls, length, answers(channel, option))) {
        channel = connection.channel
        reader = connection.reader
        state = newState(exports, noZeroes)
      }
      continue
    }
    // Within a process there is nobody between.
    if (option !== NBD_OPT_ABORT && exports.tls?.required && channel instanceof QIOChannelSocket) {
      if (option === NBD_OPT_EXPORT_NAME)
        throw protocolError('NBD_OPT_EXPORT_NAME without TLS, which is required')
      yield* reader.discard(length)
      const { refuse } = answers(channel, option)
      yield* refuse(NBD_REP_ERR_TLS_REQD, `${nbdOptLookup(option)} needs TLS here: NBD_OPT_STARTTLS first`)
      continue
    }
    const result = yield* answerOption(channel, reader, option, length, state)
    if (result === 'end') return undefined
    if (result !== 'go on') return result
  }
  throw protocolError(`more than ${NBD_MAX_OPTIONS} options`)
}

/** The ways to answer an option. */
function answers(channel: QIOChannel, option: number): Pick<OptionContext, 'reply' | 'refuse'> {
  const reply = (type: number, bytes?: Uint8Array): CoroutineFn =>
    writeBytes(channel, encodeOptionReply(option, type, bytes))
  const refuse = (type: number, reason: string): CoroutineFn => {
    log.debug({ option: nbdOptLookup(option), reply: nbdRepLookup(type) }, reason)
    return reply(type, encodeTruncated(reason))
  }
  return { reply, refuse }
}

function* answerOption(
  channel: QIOChannel,
  reader: WindowReader,
  option: number,
  length: number,
  state: NegotiationState
): CoroutineFn<OptionResult> {
  const { reply, refuse } = answers(channel, option)
  const handler = handlers.get(option)
  if ((!handler && option !== NBD_OPT_EXPORT_NAME) || length > NBD_MAX_OPTION_SIZE) {
    yield* reader.discard(length)
    if (option === NBD_OPT_EXPORT_NAME) throw protocolError(`NBD_OPT_EXPORT_NAME: a name of ${length} bytes`)
    if (option === NBD_OPT_ABORT)
      return yield* optAbort({ option, payload: Buffer.alloc(0), state, reply, refuse })
    // Refused in whatever way, it clears what was set before.
    if (option === NBD_OPT_SET_META_CONTEXT) state.contexts = undefined
    if (handler)
      yield* refuse(NBD_REP_ERR_TOO_BIG, `${nbdOptLookup(option)}: a payload of ${length} bytes is too big`)
    else yield* refuse(NBD_REP_ERR_UNSUP, `${nbdOptLookup(option)} is not supported`)
    return 'go on'
  }

  const memory = Memory.allocate(length)
  yield* reader.readAll(memory, 0, length)
  const payload = memory.buffer.subarray(0, length)
  if (!handler) return yield* optExportName(payload, state, (bytes) => writeBytes(channel, bytes))
  return yield* handler({ option, payload, state, reply, refuse })
}
