/** The thread pool, for coroutines. */
import type { EntryPoint } from '../aio/entry-point.ts'
import { threadPool, type ThreadPool } from '../aio/thread-pool.ts'
import { coAwait } from './aio-co.ts'
import type { CoroutineFn } from './coroutine.ts'

/**
 * Runs a function in a thread of the pool; the coroutine waits for its result, and goes on in its own context.
 *
 * @param argument is copied when a thread takes the job, as by postMessage; until then it must not change
 * @throws what the function throws, and as `ThreadPoolElement.result` rejects
 * @see thread_pool_submit_co
 */
export const threadPoolSubmitCo = <A, R>(
  entry: EntryPoint<A, R>,
  argument: A,
  pool: ThreadPool = threadPool()
): CoroutineFn<R> => coAwait(pool.submit(entry, argument).result)
