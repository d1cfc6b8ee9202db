/**
 * One client's connection, from hand-over to its end, in the IOThread that it was given to; and the parts that other
 * threads take in it.
 *
 * @context an IOThread
 */
import { aioWaitKick, aioWaitWhile } from '../../shared/aio/aio-wait.ts'
import { scheduleRemote, type BottomHalfHandle } from '../../shared/aio/bottom-half.ts'
import { Coroutine, type CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { bugError, NBDError } from '../../shared/errors/nbd-error.ts'
import type { QIOChannel } from '../../shared/io/channel.ts'
import { QIOChannelSocket, type SocketHandle } from '../../shared/io/channel-socket.ts'
import { WindowReader } from '../../shared/io/window-reader.ts'
import type { EntryPoint } from '../../shared/aio/entry-point.ts'
import { log } from '../../shared/log/log.ts'
import { contextsOf } from '../export/meta-context.ts'
import { findExport } from '../export/export-table.ts'
import type { NBDMode } from '../negotiation/nbd-mode.ts'
import { negotiate } from '../negotiation/newstyle.ts'
import type { Negotiated } from '../negotiation/option-context.ts'
import { ConnectionState } from '../transmission/connection-state.ts'
import { ReadAhead } from '../transmission/read-ahead.ts'
import { ReceiveLoop, type ReceiveLoopOptions } from '../transmission/receive-loop.ts'

/** What an IOThread is given with a connection. */
export interface ConnectionHandOver {
  /** Of the connection, chosen by the main thread. */
  id: number
  /** A descriptor of the connected socket; the IOThread closes it. */
  fd: number
  /** Who is at the other end, for the log. */
  peer: string
  handshakeTimeoutMs: number
  /** Of its ConnectionState. */
  state: SharedArrayBuffer
  /** Is scheduled when other threads should take part; absent when there are none. */
  onHelpWanted: BottomHalfHandle | undefined
}

/** What became of it. */
export interface ConnectionEnd {
  /** The client got as far as an export. */
  negotiated: boolean
}

/** What was negotiated, for another thread that serves the same export. */
export interface NegotiatedDescription {
  exportName: string
  mode: NBDMode
  contexts: string[]
}

/** Lets a thread take part in a connection that another has begun. */
export interface ConnectionPart {
  id: number
  socket: SocketHandle
  peer: string
  state: SharedArrayBuffer
  readAhead: SharedArrayBuffer
  negotiated: NegotiatedDescription
}

const entry = <A, R>(name: string): EntryPoint<A, R> => ({ module: import.meta.url, name })

export const SERVE_CONNECTION = entry<ConnectionHandOver, ConnectionEnd>('serveConnection')
/** Makes a connection ready for other threads to take part. */
export const SHARE_CONNECTION = entry<
  { id: number; readAhead: SharedArrayBuffer },
  { socket: SocketHandle; negotiated: NegotiatedDescription } | undefined
>('shareConnection')
/** Takes part in a connection, until it ends. */
export const JOIN_CONNECTION = entry<ConnectionPart, void>('joinConnection')
/** Lets every connection of the thread end after what it has in flight. */
export const STOP_CONNECTIONS = entry<undefined, void>('stopConnections')
/** Ends every connection of the thread at once. */
export const ABORT_CONNECTIONS = entry<undefined, void>('abortConnections')

/** A connection, or a part in one. */
interface Connection {
  readonly id: number
  channel: QIOChannel
  /** From the end of negotiation on. */
  loop: ReceiveLoop | undefined
}

const connections = new Set<Connection>()

export function stopConnections(): void {
  for (const { channel, loop } of connections) {
    if (loop) loop.stop()
    else channel.shutdown('both')
  }
}

export function abortConnections(): void {
  for (const { channel } of connections) channel.shutdown('both')
}

/** Resolves when the connection is closed; what goes wrong on it is logged here and concerns nobody else. */
export async function serveConnection(handOver: ConnectionHandOver): Promise<ConnectionEnd> {
  const { id, fd, peer } = handOver
  const connection: Connection = { id, channel: new QIOChannelSocket(fd), loop: undefined }
  const state = new ConnectionState(handOver.state)
  log.info({ peer }, 'client connected')
  await attend(connection, peer, () => serve(connection, handOver, state))
  // The last one to close ends the stream, behind what the others have sent.
  state.removePart()
  if (state.parts > 0) await aioWaitWhile(() => state.parts > 0)
  await connection.channel.close()
  log.info({ peer }, 'client disconnected')
  return { negotiated: connection.loop !== undefined }
}

/** @returns undefined when the connection has ended meanwhile */
export async function shareConnection({
  id,
  readAhead
}: {
  id: number
  readAhead: SharedArrayBuffer
}): Promise<{ socket: SocketHandle; negotiated: NegotiatedDescription } | undefined> {
  const loop = [...connections].find((connection) => connection.id === id)?.loop
  if (!loop) return undefined
  const socket = await loop.share({ readAhead: new ReadAhead(readAhead) })
  if (socket.fd < 0) return undefined
  const { exp, mode, contexts } = loop.negotiated
  const negotiated = { exportName: exp.name, mode, contexts: contexts.map(({ name }) => name) }
  return { socket, negotiated }
}

/** Resolves when the connection has ended, as far as this thread is concerned. */
export async function joinConnection({
  id,
  socket,
  peer,
  state: memory,
  readAhead,
  negotiated
}: ConnectionPart): Promise<void> {
  const channel = QIOChannelSocket.attach(socket)
  const state = new ConnectionState(memory)
  const loop = new ReceiveLoop(channel, fromDescription(negotiated), state, new WindowReader(channel), {
    mayShare: true
  })
  loop.join({ readAhead: new ReadAhead(readAhead) })
  const connection: Connection = { id, channel, loop }
  await attend(connection, peer, () => loop.run())
  await channel.close()
  state.removePart()
  aioWaitKick()
}

/** Runs a connection's coroutine to its end; an error ends the connection, and is told here. */
async function attend(connection: Connection, peer: string, body: () => CoroutineFn): Promise<void> {
  connections.add(connection)
  try {
    await Coroutine.start(body)
  } catch (error) {
    connection.channel.shutdown('both')
    // A client that goes without a word is its own affair; one that breaks the protocol is worth a look.
    const level = !NBDError.is(error) ? 'error' : error.kind === 'protocol' ? 'warn' : 'info'
    log[level](
      { peer, err: error },
      `connection ended: ${error instanceof Error ? error.message : String(error)}`
    )
  } finally {
    connections.delete(connection)
  }
}

function* serve(connection: Connection, handOver: ConnectionHandOver, state: ConnectionState): CoroutineFn {
  const { peer, handshakeTimeoutMs, onHelpWanted } = handOver
  const { channel } = connection
  const reader = new WindowReader(channel)
  const timer = setTimeout(() => {
    log.warn({ peer }, `no export chosen within ${handshakeTimeoutMs} ms: disconnecting`)
    channel.shutdown('both')
  }, handshakeTimeoutMs)
  let negotiated: Negotiated | undefined
  try {
    negotiated = yield* negotiate(channel, reader)
  } finally {
    clearTimeout(timer)
  }
  if (!negotiated) return
  log.info({ peer, export: negotiated.exp.name }, 'client uses an export')
  const options: ReceiveLoopOptions =
    onHelpWanted === undefined ? {} : { mayShare: true, onHelpWanted: () => scheduleRemote(onHelpWanted) }
  connection.loop = new ReceiveLoop(channel, negotiated, state, reader, options)
  yield* connection.loop.run()
}

function fromDescription({ exportName, mode, contexts }: NegotiatedDescription): Negotiated {
  const exp = findExport(exportName)
  if (!exp) throw bugError(`export '${exportName}' is not served here`)
  return { exp, mode, contexts: contextsOf(exp).filter(({ name }) => contexts.includes(name)) }
}
