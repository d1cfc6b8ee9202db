/** IOThreads of a test. */
import type { Test } from 'tap'
import { IOThread } from '../../shared/iothread/io-thread.ts'

/** Starts `count` of them; they end with the test. */
export async function startThreads(t: Test, count: number): Promise<IOThread[]> {
  const threads = await Promise.all(Array.from({ length: count }, (_, i) => IOThread.start(`io${i}`)))
  t.teardown(() => Promise.all(threads.map((thread) => thread.stop())))
  return threads
}
