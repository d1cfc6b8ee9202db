/**
 * NBD_OPT_STARTTLS: all that is sent behind its acknowledgement is TLS.
 *
 * Whoever sits between could put options of its own in front of STARTTLS, or behind it in the same segment. So nothing that
 * was negotiated before holds, and nothing that came in plain text is read afterwards.
 *
 * @see doc/proto.md "TLS support"; nbd_negotiate_handle_starttls in QEMU's nbd/server.c; CVE-2021-3716
 */
import type { CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { NBDError, protocolError } from '../../shared/errors/nbd-error.ts'
import { QIO_CHANNEL_ERR_BLOCK } from '../../shared/io/channel.ts'
import { QIOChannelSocket } from '../../shared/io/channel-socket.ts'
import { NO_TIMEOUT_MS, QIOChannelTLS } from '../../shared/io/channel-tls.ts'
import { newTLSServer } from '../../shared/io/open-tls.ts'
import { WindowReader } from '../../shared/io/window-reader.ts'
import { NBD_REP_ACK, NBD_REP_ERR_INVALID, NBD_REP_ERR_POLICY } from '../../shared/protocol/constants.ts'
import { Memory } from '../../shared/syscall/memory.ts'
import type { Negotiating, OptionContext } from './option-context.ts'
import type { TLSPolicy } from './tls-policy.ts'

/**
 * @param connection gets the new channel, before the handshake
 * @param policy undefined when there is no TLS
 * @param length of the payload, which was dropped
 * @returns whether all that follows comes by TLS; else the option was refused
 * @throws NBDError of kind `protocol` or `transport`: the connection must be closed
 */
export function* optStartTls(
  connection: Negotiating,
  policy: TLSPolicy | undefined,
  length: number,
  { reply, refuse }: Pick<OptionContext, 'reply' | 'refuse'>
): CoroutineFn<boolean> {
  const { channel } = connection
  if (!policy) {
    yield* refuse(NBD_REP_ERR_POLICY, 'this server has no credentials for TLS')
  } else if (!(channel instanceof QIOChannelSocket)) {
    const why = channel instanceof QIOChannelTLS ? 'TLS is negotiated already' : 'there is no socket for TLS'
    yield* refuse(NBD_REP_ERR_INVALID, why)
  } else if (length > 0) {
    yield* refuse(NBD_REP_ERR_INVALID, 'NBD_OPT_STARTTLS takes no payload')
  } else {
    checkNothingBehind(channel, connection.reader)
    yield* reply(NBD_REP_ACK)
    // The socket is given up only when it has sent that.
    yield* channel.yield('out')
    // What has come since is taken for TLS: a quick client's handshake, or else the end of the connection.
    const tls = newTLSServer(channel.detach(), policy.creds)
    connection.channel = tls
    connection.reader = new WindowReader(tls)
    // Whoever negotiates bounds the time.
    yield* tls.handshake(NO_TIMEOUT_MS)
    return true
  }
  return false
}

/** A client that waits for the acknowledgement, as it must, has sent nothing. */
function checkNothingBehind(channel: QIOChannelSocket, reader: WindowReader): void {
  const n = reader.takeUnread().length || channel.readv([{ memory: Memory.allocate(1), start: 0, end: 1 }])
  if (n === 0) throw new NBDError('transport', 'the peer closed the connection')
  if (n !== QIO_CHANNEL_ERR_BLOCK) throw protocolError('bytes in plain text behind NBD_OPT_STARTTLS')
}
