/** Opening the connections behind a disk. */
import { constants } from 'node:os'
import { NBDError } from '../../shared/errors/nbd-error.ts'
import { NBD_FLAG_CAN_MULTI_CONN } from '../../shared/protocol/constants.ts'
import { NBD_HANDSHAKE_TIMEOUT_MS } from '../negotiation/limits.ts'
import { checkTimeout } from '../transmission/cancellation.ts'
import { ConnectionSet } from './connection-set.ts'
import type { Connection } from './connection.ts'
import { NBD_MAX_CONNECTIONS } from './limits.ts'
import { openWithin, type Open } from './opening.ts'
import { checkSameExport } from './same-export.ts'

export interface ConnectionOptions {
  /** For connecting and the handshake together; 10 seconds if not given. */
  handshakeTimeoutMs?: number | undefined
  /** How long to try again when there is no server yet; without it, once. What a server refuses is not tried again. */
  openTimeoutMs?: number | undefined
  /**
   * How many, 1 to 64; 1 if not given. When the server does not promise that several see each other's writes
   * (`flags.canMultiConn`), or it can be connected to only once, there is one all the same.
   */
  connections?: number | undefined
  /**
   * A lost connection is made again, and what it left unanswered is sent again; calls wait so long for that. Those that
   * have waited in vain fail, and so do new ones, until there is a connection. Without it, a loss is the end.
   */
  reconnectDelayMs?: number | undefined
  /** Ends connecting. */
  signal?: AbortSignal | undefined
}

/**
 * @param reopens whether `open` may be called more than once; otherwise there is one connection, and its loss is the end
 * @throws NBDError of kind `transport` (no connection), `protocol` (no proper NBD server), `request` (the server refuses,
 *   or an option is out of its range) or `config`; the signal's reason
 */
export async function openSet(
  open: Open,
  reopens: boolean,
  {
    handshakeTimeoutMs = NBD_HANDSHAKE_TIMEOUT_MS,
    openTimeoutMs,
    connections = 1,
    reconnectDelayMs,
    signal
  }: ConnectionOptions
): Promise<ConnectionSet> {
  checkTimeout('handshakeTimeoutMs', handshakeTimeoutMs)
  checkTimeout('openTimeoutMs', openTimeoutMs)
  checkTimeout('reconnectDelayMs', reconnectDelayMs)
  checkCount(connections)
  const first = await openWithin(open, reopens ? (openTimeoutMs ?? 0) : 0, handshakeTimeoutMs, signal)
  const several = reopens && (first.negotiated.flags & NBD_FLAG_CAN_MULTI_CONN) !== 0
  const others = await openOthers(first, several ? connections - 1 : 0, () =>
    open(handshakeTimeoutMs, signal)
  )
  const delayMs = reopens ? (reconnectDelayMs ?? 0) : 0
  const { negotiated, tls } = first
  const lines = [first, ...others].map((connection) => ({ connection, open }))
  return new ConnectionSet({ negotiated, tls, lines }, delayMs, handshakeTimeoutMs)
}

/** @throws when one cannot be opened, or is another export; then all are closed */
async function openOthers(
  first: Connection,
  count: number,
  open: () => Promise<Connection>
): Promise<Connection[]> {
  const outcomes = await Promise.allSettled(Array.from({ length: count }, open))
  const opened = outcomes.filter((outcome) => outcome.status === 'fulfilled').map(({ value }) => value)
  try {
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
    for (const { negotiated } of opened) checkSameExport(first.negotiated, negotiated)
  } catch (error) {
    await Promise.all([first, ...opened].map((connection) => connection.close()))
    throw error
  }
  return opened
}

function checkCount(connections: number): void {
  if (Number.isInteger(connections) && connections >= 1 && connections <= NBD_MAX_CONNECTIONS) return
  throw new NBDError('request', `connections must be a whole number from 1 to ${NBD_MAX_CONNECTIONS}`, {
    errno: constants.errno.EINVAL
  })
}
