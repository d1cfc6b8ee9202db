/**
 * One option after the other: sends it, and takes its replies up to the final one.
 *
 * @see doc/proto.md "Fixed newstyle negotiation"
 */
import { constants } from 'node:os'
import type { CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { NBDError, protocolError } from '../../shared/errors/nbd-error.ts'
import type { QIOChannel } from '../../shared/io/channel.ts'
import type { WindowReader } from '../../shared/io/window-reader.ts'
import { writeBytes } from '../../shared/io/write-bytes.ts'
import {
  NBD_ESHUTDOWN,
  NBD_REP_ACK,
  NBD_REP_ERR_EXT_HEADER_REQD,
  NBD_REP_ERR_INVALID,
  NBD_REP_ERR_PLATFORM,
  NBD_REP_ERR_POLICY,
  NBD_REP_ERR_SHUTDOWN,
  NBD_REP_ERR_TLS_REQD,
  NBD_REP_ERR_TOO_BIG,
  NBD_REP_ERR_UNKNOWN,
  NBD_REP_ERR_UNSUP,
  NBD_REP_FLAG_ERROR
} from '../../shared/protocol/constants.ts'
import { nbdOptLookup, nbdRepLookup } from '../../shared/protocol/lookup.ts'
import { decodeOptionReply, NBD_OPTION_REPLY_SIZE } from '../../shared/protocol/messages/option-reply.ts'
import { encodeOptionRequest } from '../../shared/protocol/messages/option-request.ts'
import { Memory } from '../../shared/syscall/memory.ts'
import { printable } from '../../shared/config/printable.ts'
import { NBD_MAX_OPTION_REPLIES, NBD_MAX_OPTION_REPLY_SIZE } from './limits.ts'

/** An option that the server refused; the negotiation may go on. */
export interface Refusal {
  type: number
  /** For the user, with the server's own text. */
  error: NBDError
}

/** What a reply that is neither the acknowledgement nor an error brings. @throws NBDError of kind `protocol` */
export type TakeReply = (type: number, payload: Buffer) => void

const { errno } = constants

/** What a refusal means to a user, and the errno that programs look for. */
const meanings = new Map<number, [text: string, errno: number]>([
  [NBD_REP_ERR_UNSUP, ['the server does not support this', errno.ENOTSUP]],
  [NBD_REP_ERR_POLICY, ['the server does not allow this', errno.EPERM]],
  [NBD_REP_ERR_INVALID, ['the server finds this invalid', errno.EINVAL]],
  [NBD_REP_ERR_PLATFORM, ['the server cannot do this on its platform', errno.ENOTSUP]],
  [NBD_REP_ERR_TLS_REQD, ['the server requires TLS: use nbds://', errno.ENOTSUP]],
  [NBD_REP_ERR_UNKNOWN, ['the server has no such export', errno.ENOENT]],
  [NBD_REP_ERR_SHUTDOWN, ['the server is shutting down', NBD_ESHUTDOWN]],
  [NBD_REP_ERR_TOO_BIG, ['this is too big for the server', errno.EINVAL]],
  [NBD_REP_ERR_EXT_HEADER_REQD, ['the server requires extended headers', errno.ENOTSUP]]
])

/** Refusals after which no other option has a chance. */
const hopeless = new Set([NBD_REP_ERR_TLS_REQD, NBD_REP_ERR_SHUTDOWN])

export class OptionExchange {
  readonly #channel: QIOChannel
  readonly #reader: WindowReader
  readonly #memory = Memory.allocate(NBD_MAX_OPTION_REPLY_SIZE)

  constructor(channel: QIOChannel, reader: WindowReader) {
    this.#channel = channel
    this.#reader = reader
  }

  /** Sends an option and nothing more. @throws NBDError of kind `transport` */
  *send(option: number, payload?: Uint8Array): CoroutineFn {
    yield* writeBytes(this.#channel, encodeOptionRequest(option, payload))
  }

  /**
   * Sends an option, hands its replies to `take`, and returns with the final one.
   *
   * @param take gets a payload that is valid until it returns
   * @param most replies, the final one included
   * @returns undefined when the server acknowledged the option
   * @throws NBDError of kind `request` when no option has a chance any more, `protocol`, `transport`
   */
  *ask(
    option: number,
    payload: Uint8Array | undefined,
    take: TakeReply,
    most = NBD_MAX_OPTION_REPLIES
  ): CoroutineFn<Refusal | undefined> {
    yield* this.send(option, payload)
    for (let count = 0; count < most; count++) {
      const reply = yield* this.#receive(option)
      if (reply.type === NBD_REP_ACK) return undefined
      if ((reply.type & NBD_REP_FLAG_ERROR) !== 0) return refused(option, reply.type, reply.payload)
      take(reply.type, reply.payload)
    }
    throw protocolError(`more than ${most} replies to ${nbdOptLookup(option)}`)
  }

  *#receive(option: number): CoroutineFn<{ type: number; payload: Buffer }> {
    const memory = this.#memory
    yield* this.#reader.readAll(memory, 0, NBD_OPTION_REPLY_SIZE)
    const header = decodeOptionReply(memory.buffer)
    if (!header) throw protocolError(`wrong option reply magic 0x${memory.buffer.toString('hex', 0, 8)}`)
    if (header.option !== option) {
      throw protocolError(`a reply to ${nbdOptLookup(header.option)}, not to ${nbdOptLookup(option)}`)
    }
    const { type, length } = header
    if (length > NBD_MAX_OPTION_REPLY_SIZE) {
      throw protocolError(`${nbdRepLookup(type)} announces ${length} bytes of payload`)
    }
    yield* this.#reader.readAll(memory, 0, length)
    return { type, payload: memory.buffer.subarray(0, length) }
  }
}

function refused(option: number, type: number, payload: Buffer): Refusal {
  const text = printable(payload).trim()
  const [meaning, errno] = meanings.get(type) ?? [
    `the server answers ${nbdRepLookup(type)}`,
    constants.errno.EINVAL
  ]
  const detail = text === '' ? '' : ` (server: ${text})`
  const error = new NBDError('request', `${nbdOptLookup(option)}: ${meaning}${detail}`, { errno })
  if (hopeless.has(type)) throw error
  return { type, error }
}

/** For `take`: a reply that does not belong to the option. */
export const unexpectedReply = (option: number, type: number): NBDError =>
  protocolError(`${nbdOptLookup(option)} was answered by ${nbdRepLookup(type)}`)
