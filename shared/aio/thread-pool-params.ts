/** How many threads a thread pool has. */
import { configError } from '../errors/nbd-error.ts'

export interface ThreadPoolParams {
  /** Threads that are kept, also when there is nothing to do; they are started when this is set. */
  min: number
  /** Most threads at a time. */
  max: number
}

/** @see THREAD_POOL_MAX_THREADS_DEFAULT */
export const DEFAULT_THREAD_POOL_PARAMS: Readonly<ThreadPoolParams> = { min: 0, max: 64 }

/** Largest value of either, as in QEMU: that of an int. */
export const THREAD_POOL_LIMIT = 0x7fffffff

/**
 * @throws NBDError of kind `config`
 * @see aio_context_set_thread_pool_params
 */
export function checkThreadPoolParams({ min, max }: ThreadPoolParams): void {
  for (const [name, value, least] of [
    ['thread-pool-min', min, 0],
    ['thread-pool-max', max, 1]
  ] as const) {
    if (!Number.isInteger(value) || value < least || value > THREAD_POOL_LIMIT) {
      throw configError(`${name} must be from ${least} to ${THREAD_POOL_LIMIT}, not ${value}`)
    }
  }
  if (min > max) throw configError(`thread-pool-min ${min} is greater than thread-pool-max ${max}`)
}
