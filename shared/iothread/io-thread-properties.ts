/**
 * What can be set of an IOThread, by QEMU's names, when it starts and while it runs.
 *
 * @see QEMU's iothread.c and event-loop-base.c
 */
import { DEFAULT_THREAD_POOL_PARAMS, THREAD_POOL_LIMIT } from '../aio/thread-pool-params.ts'
import type { OptionObject } from '../config/key-value.ts'
import { checkOptions, integer, type OptionMembers } from '../config/option-schema.ts'
import { configError } from '../errors/nbd-error.ts'

export interface IOThreadProperties {
  /** Longest time that the loop polls instead of sleeping, in ns; 0 never polls. */
  'poll-max-ns': number
  /** Factor by which the polling time grows; 0 stands for 2. */
  'poll-grow': number
  /** Divisor by which it shrinks; 0 stops polling at once. */
  'poll-shrink': number
  /** Requests that a connection may take before others get their turn; 0 leaves it to the server. */
  'aio-max-batch': number
  /** Threads that the pool keeps when it has nothing to do. */
  'thread-pool-min': number
  /** Threads that the pool has at the most. */
  'thread-pool-max': number
}

export const IOTHREAD_DEFAULTS: IOThreadProperties = {
  'poll-max-ns': 32768,
  'poll-grow': 0,
  'poll-shrink': 0,
  'aio-max-batch': 0,
  'thread-pool-min': DEFAULT_THREAD_POOL_PARAMS.min,
  'thread-pool-max': DEFAULT_THREAD_POOL_PARAMS.max
}

// QEMU's bound is INT64_MAX; a number of JavaScript is exact up to 2^53 - 1.
const MAX_VALUE = Number.MAX_SAFE_INTEGER

export const ioThreadOptions = {
  'poll-max-ns': integer(0, MAX_VALUE),
  'poll-grow': integer(0, MAX_VALUE),
  'poll-shrink': integer(0, MAX_VALUE),
  'aio-max-batch': integer(0, MAX_VALUE),
  'thread-pool-min': integer(0, THREAD_POOL_LIMIT),
  'thread-pool-max': integer(1, THREAD_POOL_LIMIT)
} satisfies OptionMembers & Record<keyof IOThreadProperties, unknown>

/**
 * `properties` with some of them changed.
 *
 * @param what names the thread, for messages
 * @throws NBDError of kind `config` for what is unknown, not a whole number, or out of range
 */
export function changedProperties(
  properties: IOThreadProperties,
  changes: Partial<IOThreadProperties>,
  what: string
): IOThreadProperties {
  const changed = { ...properties, ...checkOptions(ioThreadOptions, changes as OptionObject, what) }
  const { 'thread-pool-min': min, 'thread-pool-max': max } = changed
  if (min > max) throw configError(`${what}: thread-pool-min ${min} is more than thread-pool-max ${max}`)
  return changed
}
