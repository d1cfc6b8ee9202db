/** Opening a connection until it is there. */
import { setTimeout as sleep } from 'node:timers/promises'
import { NBDError } from '../../shared/errors/nbd-error.ts'
import { ESHUTDOWN } from '../transmission/reply-error.ts'
import { Backoff } from './backoff.ts'
import type { Connection } from './connection.ts'

/**
 * Makes one more connection to the same export.
 *
 * @param timeoutMs for connecting and the handshake together
 */
export type Open = (timeoutMs: number, signal?: AbortSignal) => Promise<Connection>

/** The network's or a restarting server's fault: it may be another thing in a moment. What a server refuses is not. */
export const mayPass = (error: unknown): error is NBDError =>
  NBDError.is(error) && (error.kind === 'transport' || error.errno === ESHUTDOWN)

/**
 * @param totalMs time in which the connection is tried again when there is none; 0 for one attempt
 * @param attemptMs for each attempt
 * @throws NBDError of the last attempt; the signal's reason
 * @see open-timeout of QEMU's nbd driver
 */
export async function openWithin(
  open: Open,
  totalMs: number,
  attemptMs: number,
  signal?: AbortSignal
): Promise<Connection> {
  const end = performance.now() + totalMs
  const backoff = new Backoff()
  backoff.next()
  for (;;) {
    try {
      return await open(attemptMs, signal)
    } catch (error) {
      const left = end - performance.now()
      if (!mayPass(error) || left <= 0) throw error
      await sleep(Math.min(backoff.next(), left), undefined, { signal }).catch(() => signal?.throwIfAborted())
    }
  }
}
