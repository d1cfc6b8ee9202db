/**
 * NBD_OPT_STARTTLS: all that comes behind its acknowledgement is TLS.
 *
 * Whoever sits between could put replies in plain text behind the acknowledgement, to be read as if they had come through
 * TLS; so what came there ends the connection. And nothing is asked before that would hold afterwards.
 *
 * @see doc/proto.md "TLS support"; nbd_receive_starttls in QEMU's nbd/client.c; CVE-2021-3716
 */
import type { CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { configError, NBDError, protocolError } from '../../shared/errors/nbd-error.ts'
import { QIO_CHANNEL_ERR_BLOCK, type QIOChannel } from '../../shared/io/channel.ts'
import { QIOChannelSocket } from '../../shared/io/channel-socket.ts'
import { QIOChannelStream } from '../../shared/io/channel-stream.ts'
import { newTLSClient } from '../../shared/io/open-tls.ts'
import type { TLSCreds } from '../../shared/io/tls-creds.ts'
import { WindowReader } from '../../shared/io/window-reader.ts'
import {
  NBD_OPT_STARTTLS,
  NBD_REP_ERR_INVALID,
  NBD_REP_ERR_POLICY,
  NBD_REP_ERR_UNSUP
} from '../../shared/protocol/constants.ts'
import { NO_TIMEOUT_MS } from '../../shared/io/channel-tls.ts'
import { Memory } from '../../shared/syscall/memory.ts'
import type { Negotiating } from './negotiating.ts'
import { OptionExchange, unexpectedReply } from './option-exchange.ts'

/** The answers of servers that have no TLS. */
const noTls = new Set([NBD_REP_ERR_UNSUP, NBD_REP_ERR_POLICY, NBD_REP_ERR_INVALID])

/**
 * Replaces the channel by TLS over it, and shakes hands.
 *
 * @param connection gets the new channel before the handshake, and is to be closed by it whatever happens
 * @param tls.hostname that the server's certificate must be for
 * @returns for the options that follow
 * @throws NBDError of kind `request` when the server has no TLS, `protocol` when it is the wrong one or what comes is not
 *   TLS, `transport`; of kind `config` when the channel is of a kind that cannot carry it
 */
export function* optStartTls(
  connection: Negotiating,
  exchange: OptionExchange,
  { creds, hostname }: { creds: TLSCreds; hostname: string }
): CoroutineFn<OptionExchange> {
  const { channel, reader } = connection
  if (!(channel instanceof QIOChannelSocket || channel instanceof QIOChannelStream))
    throw configError('TLS needs a socket or a stream below it')
  const refusal = yield* exchange.ask(NBD_OPT_STARTTLS, undefined, (type) => {
    throw unexpectedReply(NBD_OPT_STARTTLS, type)
  })
  if (refusal) {
    const { type, error } = refusal
    if (!noTls.has(type)) throw error
    throw new NBDError('request', `the server has no TLS: ${error.message}`, {
      ...(error.errno === undefined ? {} : { errno: error.errno }),
      cause: error
    })
  }
  // Before the channel is given up, all of the option must have been sent; a server may acknowledge it too early.
  yield* channel.yield('out')
  checkNothingBehind(channel, reader)
  const master = channel instanceof QIOChannelStream ? { stream: channel.detach() } : channel.detach()
  const secured = newTLSClient(master, creds, hostname)
  connection.channel = secured
  connection.reader = new WindowReader(secured)
  // Whoever negotiates bounds the time.
  yield* secured.handshake(NO_TIMEOUT_MS)
  return new OptionExchange(connection.channel, connection.reader)
}

/** In TLS the client speaks first. */
function checkNothingBehind(channel: QIOChannel, reader: WindowReader): void {
  const n = reader.takeUnread().length || channel.readv([{ memory: Memory.allocate(1), start: 0, end: 1 }])
  if (n === 0) throw new NBDError('transport', 'the server closed the connection instead of speaking TLS')
  if (n !== QIO_CHANNEL_ERR_BLOCK)
    throw protocolError('bytes in plain text behind the acknowledgement of NBD_OPT_STARTTLS')
}
