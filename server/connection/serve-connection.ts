/**
 * One client's connection, from hand-over to its end, in the IOThread that it was given to.
 *
 * @context an IOThread
 */
import { NBDError } from '../../shared/errors/nbd-error.ts'
import { QIOChannelSocket } from '../../shared/io/channel-socket.ts'
import type { EntryPoint } from '../../shared/iothread/messages.ts'
import { log } from '../../shared/log/log.ts'
import { negotiate } from '../negotiation/newstyle.ts'
import { ReceiveLoop } from '../transmission/receive-loop.ts'

/** What an IOThread is given with a connection. */
export interface ConnectionHandOver {
  /** A descriptor of the connected socket; the IOThread closes it. */
  fd: number
  /** Who is at the other end, for the log. */
  peer: string
  handshakeTimeoutMs: number
}

/** What became of it. */
export interface ConnectionEnd {
  /** The client got as far as an export. */
  negotiated: boolean
}

export const SERVE_CONNECTION: EntryPoint<ConnectionHandOver, ConnectionEnd> = {
  module: import.meta.url,
  name: 'serveConnection'
}
/** Lets every connection of the thread end after what it has in flight. */
export const STOP_CONNECTIONS: EntryPoint<undefined, void> = {
  module: import.meta.url,
  name: 'stopConnections'
}
/** Ends every connection of the thread at once. */
export const ABORT_CONNECTIONS: EntryPoint<undefined, void> = {
  module: import.meta.url,
  name: 'abortConnections'
}

interface Connection {
  readonly channel: QIOChannelSocket
  /** From the end of negotiation on. */
  loop: ReceiveLoop | undefined
}

const connections = new Set<Connection>()

export function stopConnections(): void {
  for (const { channel, loop } of connections) {
    if (loop) loop.stop()
    else channel.shutdown()
  }
}

export function abortConnections(): void {
  for (const { channel } of connections) channel.shutdown()
}

/** Resolves when the connection is closed; what goes wrong on it is logged here and concerns nobody else. */
export async function serveConnection({
  fd,
  peer,
  handshakeTimeoutMs
}: ConnectionHandOver): Promise<ConnectionEnd> {
  const channel = new QIOChannelSocket(fd)
  const connection: Connection = { channel, loop: undefined }
  connections.add(connection)
  log.info({ peer }, 'client connected')
  try {
    await serve(connection, peer, handshakeTimeoutMs)
    await channel.close()
  } catch (error) {
    channel.shutdown()
    // A client that goes without a word is its own affair; one that breaks the protocol is worth a look.
    const level = !NBDError.is(error) ? 'error' : error.kind === 'protocol' ? 'warn' : 'info'
    log[level](
      { peer, err: error },
      `connection ended: ${error instanceof Error ? error.message : String(error)}`
    )
    await channel.close()
  } finally {
    connections.delete(connection)
  }
  log.info({ peer }, 'client disconnected')
  return { negotiated: connection.loop !== undefined }
}

async function serve(connection: Connection, peer: string, handshakeTimeoutMs: number): Promise<void> {
  const { channel } = connection
  const timer = setTimeout(() => {
    log.warn({ peer }, `no export chosen within ${handshakeTimeoutMs} ms: disconnecting`)
    channel.shutdown()
  }, handshakeTimeoutMs)
  const negotiated = await negotiate(channel).finally(() => clearTimeout(timer))
  if (!negotiated) return
  log.info({ peer, export: negotiated.exp.name }, 'client uses an export')
  connection.loop = new ReceiveLoop(channel, negotiated)
  await connection.loop.run()
}
