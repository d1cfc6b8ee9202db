/**
 * The properties of the IOThread that the caller runs in, and what a change of them does there.
 *
 * @context an IOThread; in the main thread they are the defaults
 */
import { AioContext } from '../aio/aio-context.ts'
import type { EntryPoint } from '../aio/entry-point.ts'
import { threadPool } from '../aio/thread-pool.ts'
import { kernelThreadId } from '../syscall/thread.ts'
import { IOTHREAD_DEFAULTS, type IOThreadProperties } from './io-thread-properties.ts'

let current: Readonly<IOThreadProperties> = IOTHREAD_DEFAULTS

/** Read it at each use: it changes while the thread runs. */
export const currentProperties = (): Readonly<IOThreadProperties> => current

/** `applyProperties`, for the main thread to run in an IOThread. */
export const APPLY_PROPERTIES: EntryPoint<IOThreadProperties, number> = {
  module: import.meta.url,
  name: 'applyProperties'
}

/**
 * Puts properties into effect: whoever keeps one of them elsewhere is told.
 *
 * @returns the kernel's id of this thread
 * @see aio_context_set_poll_params, aio_context_set_thread_pool_params
 */
export function applyProperties(properties: IOThreadProperties): number {
  current = properties
  AioContext.current().polling.options = {
    pollMaxNs: properties['poll-max-ns'],
    pollGrow: properties['poll-grow'],
    pollShrink: properties['poll-shrink']
  }
  threadPool().setParams({ min: properties['thread-pool-min'], max: properties['thread-pool-max'] })
  return kernelThreadId()
}
