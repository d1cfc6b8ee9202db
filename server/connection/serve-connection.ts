/**
 * One client's connection in the IOThreads that it is given to, from hand-over to its end; and the parts that other
 * threads take in it.
 *
 * The IOThread that negotiates need not be one of those that serve the export which the client chooses. Then it gives
 * the connection back to the main thread, which gives it to one of these.
 *
 * @context an IOThread
 */
import { aioWaitKick, aioWaitWhile } from '../../shared/aio/aio-wait.ts'
import { scheduleRemote } from '../../shared/aio/bottom-half.ts'
import { Coroutine, type CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { NBDError } from '../../shared/errors/nbd-error.ts'
import type { QIOChannel } from '../../shared/io/channel.ts'
import { QIOChannelPair } from '../../shared/io/channel-pair.ts'
import { QIOChannelSocket, type SocketHandle } from '../../shared/io/channel-socket.ts'
import { QIOChannelTLS } from '../../shared/io/channel-tls.ts'
import { ReadAhead } from '../../shared/io/read-ahead.ts'
import { WindowReader } from '../../shared/io/window-reader.ts'
import type { EntryPoint } from '../../shared/aio/entry-point.ts'
import { log } from '../../shared/log/log.ts'
import { exportTable } from '../export/export-table.ts'
import { negotiate } from '../negotiation/newstyle.ts'
import type { Negotiated, Negotiating } from '../negotiation/option-context.ts'
import { ConnectionState } from '../transmission/connection-state.ts'
import { ReceiveLoop, type ReceiveLoopOptions } from '../transmission/receive-loop.ts'
import {
  fromDescription,
  toDescription,
  type ConnectionEnd,
  type ConnectionHandOver,
  type ConnectionPart,
  type NegotiatedConnection,
  type NegotiatedDescription,
  type NewConnection,
  type Wire
} from './hand-over.ts'

const entry = <A, R>(name: string): EntryPoint<A, R> => ({ module: import.meta.url, name })

/** A connection from its start on. */
export const SERVE_CONNECTION = entry<NewConnection, ConnectionEnd>('serveConnection')
/** A connection that another IOThread has negotiated. */
export const SERVE_NEGOTIATED = entry<NegotiatedConnection, ConnectionEnd>('serveNegotiated')
/** Makes a connection ready for other threads to take part. */
export const SHARE_CONNECTION = entry<
  { id: number; readAhead: SharedArrayBuffer },
  { socket: SocketHandle; negotiated: NegotiatedDescription } | undefined
>('shareConnection')
/** Takes part in a connection, until it ends. */
export const JOIN_CONNECTION = entry<ConnectionPart, void>('joinConnection')
/** Lets every connection of a server end after what it has in flight. */
export const STOP_CONNECTIONS = entry<number, void>('stopConnections')
/** Ends every connection of a server at once. */
export const ABORT_CONNECTIONS = entry<number, void>('abortConnections')
/** Ends one connection at once, by its id. */
export const ABORT_CONNECTION = entry<number, void>('abortConnection')

/** A connection, or a part in one. */
interface Connection extends Negotiating {
  readonly id: number
  readonly server: number
  /** From the end of negotiation on. */
  loop: ReceiveLoop | undefined
}

const connections = new Set<Connection>()

const connectionsOf = (server: number): Connection[] =>
  [...connections].filter((connection) => connection.server === server)

export function stopConnections(server: number): void {
  for (const { channel, loop } of connectionsOf(server)) {
    if (loop) loop.stop()
    else channel.shutdown('both')
  }
}

export function abortConnections(server: number): void {
  for (const connection of connectionsOf(server)) abort(connection)
}

export function abortConnection(id: number): void {
  for (const connection of connections) if (connection.id === id) abort(connection)
}

function abort({ channel, loop }: Connection): void {
  if (loop) loop.abort()
  else channel.shutdown('both')
}

/** Resolves when the connection is closed here; what goes wrong on it is logged here and concerns nobody else. */
export async function serveConnection(handOver: NewConnection): Promise<ConnectionEnd> {
  const { peer } = handOver
  const channel = open(handOver)
  log.info({ peer }, 'client connected')
  let moved: ConnectionEnd['moved']
  const ended = await serveUntilClosed(handOver, channel, function* (connection) {
    const negotiated = yield* negotiateInTime(connection, handOver)
    if (negotiated?.exp.servedHere === false) moved = yield* giveUp(channel, connection.reader, negotiated)
    else if (negotiated) yield* transmit(connection, handOver, negotiated)
    return moved !== undefined
  })
  return moved ? { negotiated: true, moved } : ended
}

/** Resolves as `serveConnection` does. */
export async function serveNegotiated(handOver: NegotiatedConnection): Promise<ConnectionEnd> {
  const channel = open(handOver)
  await serveUntilClosed(handOver, channel, function* (connection) {
    const negotiated = fromDescription(handOver.server, handOver.negotiated)
    connection.reader.putUnread(Buffer.from(handOver.unread))
    yield* transmit(connection, handOver, negotiated)
    return false
  })
  return { negotiated: true }
}

function open({ wire, taken }: ConnectionHandOver): QIOChannelSocket | QIOChannelPair {
  const channel = typeof wire === 'number' ? new QIOChannelSocket(wire) : QIOChannelPair.open(wire)
  Atomics.store(taken, 0, 1)
  if (channel instanceof QIOChannelSocket) channel.enlargeSendBuffer()
  return channel
}

/** @param body returns whether the connection goes on elsewhere */
async function serveUntilClosed(
  { id, server, peer, state: memory }: ConnectionHandOver,
  channel: QIOChannel,
  body: (connection: Connection) => CoroutineFn<boolean>
): Promise<ConnectionEnd> {
  const reader = new WindowReader(channel)
  const connection: Connection = { id, server, channel, reader, loop: undefined }
  let goesOn = false
  await attend(connection, peer, function* () {
    goesOn = yield* body(connection)
  })
  if (!goesOn) {
    // The last one to close ends the stream, behind what the others have sent.
    const state = new ConnectionState(memory)
    state.removePart()
    if (state.parts > 0) await aioWaitWhile(() => state.parts > 0)
  }
  await connection.channel.close()
  if (!goesOn) log.info({ peer }, 'client disconnected')
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
  return { socket, negotiated: toDescription(loop.negotiated) }
}

/** Resolves when the connection has ended, as far as this thread is concerned. */
export async function joinConnection({
  id,
  server,
  socket,
  taken,
  peer,
  state: memory,
  readAhead,
  negotiated
}: ConnectionPart): Promise<void> {
  // Before the descriptor is ours: it may fail.
  const exported = fromDescription(server, negotiated)
  const channel = QIOChannelSocket.attach(socket)
  Atomics.store(taken, 0, 1)
  const state = new ConnectionState(memory)
  const reader = new WindowReader(channel)
  const loop = new ReceiveLoop(channel, exported, state, reader, { mayShare: true })
  loop.join({ readAhead: new ReadAhead(readAhead) })
  const connection: Connection = { id, server, channel, reader, loop }
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
    const kind = NBDError.is(error) ? error.kind : 'bug'
    const level = kind === 'bug' ? 'error' : kind === 'protocol' ? 'warn' : 'info'
    log[level](
      { peer, err: error },
      `connection ended: ${error instanceof Error ? error.message : String(error)}`
    )
  } finally {
    connections.delete(connection)
  }
}

function* negotiateInTime(
  connection: Connection,
  { server, peer, handshakeTimeoutMs }: NewConnection
): CoroutineFn<Negotiated | undefined> {
  if (handshakeTimeoutMs === 0) return yield* negotiate(connection, exportTable(server))
  const timer = setTimeout(() => {
    log.warn({ peer }, `no export chosen within ${handshakeTimeoutMs} ms: disconnecting`)
    connection.channel.shutdown('both')
  }, handshakeTimeoutMs)
  try {
    return yield* negotiate(connection, exportTable(server))
  } finally {
    clearTimeout(timer)
  }
}

function* transmit(
  connection: Connection,
  { peer, state, onHelpWanted }: ConnectionHandOver,
  negotiated: Negotiated
): CoroutineFn {
  const { channel, reader } = connection
  const tls = channel instanceof QIOChannelTLS ? channel.protocol : undefined
  log.info({ peer, export: negotiated.exp.name, tls }, 'client uses an export')
  // A TLS connection stays in the thread that did the handshake, and an end of a pair has one user.
  const options: ReceiveLoopOptions =
    onHelpWanted === undefined || !(channel instanceof QIOChannelSocket)
      ? {}
      : { mayShare: true, onHelpWanted: () => scheduleRemote(onHelpWanted) }
  connection.loop = new ReceiveLoop(channel, negotiated, new ConnectionState(state), reader, options)
  yield* connection.loop.run()
}

/** Nothing of the connection is left in this thread. */
function* giveUp(
  channel: QIOChannelSocket | QIOChannelPair,
  reader: WindowReader,
  negotiated: Negotiated
): CoroutineFn<ConnectionEnd['moved']> {
  // The last answer may still be on its way.
  yield* channel.yield('out')
  const { wire, unread } = detach(channel)
  // A copy, since posting a Buffer posts all of the memory that it is a part of.
  const bytes = new Uint8Array(Buffer.concat([reader.takeUnread(), unread]))
  return { wire, negotiated: toDescription(negotiated), unread: bytes }
}

function detach(channel: QIOChannelSocket | QIOChannelPair): { wire: Wire; unread: Buffer } {
  if (channel instanceof QIOChannelPair) return { wire: channel.detach(), unread: Buffer.alloc(0) }
  const { fd, unread } = channel.detach()
  return { wire: fd, unread }
}
