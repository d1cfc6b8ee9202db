/**
 * What an IOThread has done for all connections since it began.
 *
 * @context an IOThread; the main thread asks for it by THREAD_COUNTERS
 */
import { AioContext } from '../../shared/aio/aio-context.ts'
import type { EntryPoint } from '../../shared/aio/entry-point.ts'
import type { ConnectionCounters } from './connection-state.ts'

export interface ThreadCounters extends ConnectionCounters {
  /** How long its loop has looked for work instead of sleeping, in ns. */
  pollingNs: number
}

const counters: ConnectionCounters = { requests: 0, bytes: 0, batches: 0, handOvers: 0 }

export function countBatch(requests: number, bytes: number): void {
  counters.batches++
  counters.requests += requests
  counters.bytes += bytes
}

export function countHandOver(): void {
  counters.handOvers++
}

export const THREAD_COUNTERS: EntryPoint<undefined, ThreadCounters> = {
  module: import.meta.url,
  name: 'threadCounters'
}

export const threadCounters = (): ThreadCounters => ({
  ...counters,
  pollingNs: AioContext.current().polling.spentNs
})
