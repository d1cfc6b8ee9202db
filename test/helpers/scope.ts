/** What owns processes and files, and ends them when it ends: a test, or a run of a benchmark. */
import type { Test } from 'tap'

/** All that helpers which only launch and clean up ask of a test. */
export type Scope = Pick<Test, 'teardown'>

type Teardown = () => unknown

/**
 * Runs `work` with a scope of its own; what that owns is ended, the newest first, however `work` ends. What comes later,
 * of work that goes on nevertheless, is ended at once.
 */
export async function withScope<T>(work: (scope: Scope) => Promise<T>): Promise<T> {
  const teardowns: Teardown[] = []
  let ended = false
  const teardown = (end: Teardown): void => void (ended ? end() : teardowns.unshift(end))
  try {
    return await work({ teardown })
  } finally {
    ended = true
    for (const teardown of teardowns) await teardown()
  }
}
