/** Connections that are negotiated here, and used by the kernel. */
import { Coroutine } from '../../shared/coroutine/coroutine.ts'
import { configError, NBDError } from '../../shared/errors/nbd-error.ts'
import { QIOChannelSocket } from '../../shared/io/channel-socket.ts'
import { connectSocket } from '../../shared/io/connect.ts'
import { WindowReader } from '../../shared/io/window-reader.ts'
import { writeBytes } from '../../shared/io/write-bytes.ts'
import { NBD_CMD_DISC } from '../../shared/protocol/constants.ts'
import { encodeRequest, NBD_REQUEST_SIZE, newRequest } from '../../shared/protocol/messages/request.ts'
import { NBD_MODE_SIMPLE } from '../../shared/protocol/nbd-mode.ts'
import { formatUri, type NBDUri } from '../../shared/protocol/uri.ts'
import { NBD_HANDSHAKE_TIMEOUT_MS } from '../negotiation/limits.ts'
import type { Negotiated } from '../negotiation/negotiated.ts'
import { negotiate } from '../negotiation/newstyle.ts'

export interface NegotiatedSocket {
  /** In transmission, and nothing received of it. The receiver's to close. */
  fd: number
  negotiated: Negotiated
}

/**
 * Connects to an export, with simple replies: the kernel knows no others.
 *
 * @throws NBDError
 */
export async function negotiateSocket(uri: NBDUri): Promise<NegotiatedSocket> {
  if (uri.tls) throw configError(`cannot attach '${formatUri(uri)}': the kernel's client has no TLS`)
  let channel: QIOChannelSocket | undefined
  let timer: NodeJS.Timeout | undefined
  try {
    const opened = (channel = await connectSocket(uri.address, NBD_HANDSHAKE_TIMEOUT_MS))
    timer = setTimeout(() => opened.shutdown('both'), NBD_HANDSHAKE_TIMEOUT_MS)
    const negotiating = { channel: opened, reader: new WindowReader(opened) }
    const { exportName } = uri
    const negotiated = await Coroutine.start(() =>
      negotiate(negotiating, { exportName }, { mode: NBD_MODE_SIMPLE })
    )
    // A server says nothing before it is asked; so nothing is lost with the reader.
    return { fd: opened.detach().fd, negotiated }
  } catch (error) {
    await channel?.close()
    if (!NBDError.is(error)) throw error
    throw new NBDError(error.kind, `cannot open '${formatUri(uri)}': ${error.message}`, { cause: error })
  } finally {
    clearTimeout(timer)
  }
}

/** Takes leave of the server, and closes. Never fails. */
export async function leaveSocket(fd: number): Promise<void> {
  const channel = new QIOChannelSocket(fd)
  const request = Buffer.alloc(NBD_REQUEST_SIZE)
  encodeRequest(request, 0, { ...newRequest(), type: NBD_CMD_DISC })
  try {
    await Coroutine.start(() => writeBytes(channel, request))
  } catch {
    // It has gone already.
  }
  await channel.close()
}
