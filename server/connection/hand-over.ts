/**
 * What threads tell each other of a connection that goes from one to another.
 *
 * All of it is postable; a descriptor is the process's, and the receiver's to close.
 */
import type { BottomHalfHandle } from '../../shared/aio/bottom-half.ts'
import { NBDError } from '../../shared/errors/nbd-error.ts'
import { QIOChannelPair, type QIOChannelPairHandle } from '../../shared/io/channel-pair.ts'
import type { SocketHandle } from '../../shared/io/channel-socket.ts'
import { closeFd } from '../../shared/syscall/fd.ts'
import { exportTable } from '../export/export-table.ts'
import { selectContexts } from '../export/meta-context.ts'
import type { NBDMode } from '../../shared/protocol/nbd-mode.ts'
import type { Negotiated } from '../negotiation/option-context.ts'

/** A descriptor of a connected socket, or one end of an in-memory pair. */
export type Wire = number | QIOChannelPairHandle

/** Ends a connection that nobody serves. */
export function dropWire(wire: Wire): void {
  if (typeof wire === 'number') closeFd(wire)
  else void QIOChannelPair.open(wire).close()
}

/** What an IOThread is given with a connection. */
export interface ConnectionHandOver {
  /** Of the connection, chosen by the main thread. */
  id: number
  /** Number of the server. */
  server: number
  /** The IOThread's to close from when it has set `taken`. */
  wire: Wire
  /** One word of shared memory, 0 until then. */
  taken: Int32Array
  /** Who is at the other end, for the log. */
  peer: string
  /** Of its ConnectionState. */
  state: SharedArrayBuffer
  /** Is scheduled when other threads should take part; absent when there are none. */
  onHelpWanted: BottomHalfHandle | undefined
}

/** A connection that nothing was read from. */
export interface NewConnection extends ConnectionHandOver {
  handshakeTimeoutMs: number
}

/** A connection that is negotiated. */
export interface NegotiatedConnection extends ConnectionHandOver {
  negotiated: NegotiatedDescription
  /** What the client has sent behind the negotiation, as far as it was received. */
  unread: Uint8Array
}

/** What became of a connection. */
export interface ConnectionEnd {
  /** The client got as far as an export. */
  negotiated: boolean
  /** It lives on, and is to be served elsewhere: `wire` is the receiver's. */
  moved?: Pick<NegotiatedConnection, 'wire' | 'negotiated' | 'unread'>
}

/** What was negotiated, for another thread that serves the same export. */
export interface NegotiatedDescription {
  exportName: string
  mode: NBDMode
  /** Names of the metadata contexts that were chosen; their ids follow from them. */
  contexts: string[]
}

/** Lets a thread take part in a connection that another has begun. */
export interface ConnectionPart {
  id: number
  server: number
  socket: SocketHandle
  /** As of a ConnectionHandOver. */
  taken: Int32Array
  peer: string
  state: SharedArrayBuffer
  readAhead: SharedArrayBuffer
  negotiated: NegotiatedDescription
}

/** For `taken`. */
export const notTaken = (): Int32Array => new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT))

export const toDescription = ({ exp, mode, contexts }: Negotiated): NegotiatedDescription => ({
  exportName: exp.name,
  mode,
  contexts: contexts.map(({ name }) => name)
})

/** @throws NBDError of kind `transport` when the export is served no more */
export function fromDescription(
  server: number,
  { exportName, mode, contexts }: NegotiatedDescription
): Negotiated {
  const exp = exportTable(server).find(exportName)
  if (typeof exp === 'string') throw new NBDError('transport', exp)
  return { exp, mode, contexts: contexts.flatMap((name) => selectContexts(exp, name)) }
}
