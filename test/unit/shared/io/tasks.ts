/** What the tests of this folder run in other threads. */
import { threadId } from 'node:worker_threads'
import { NBDError } from '../../../../shared/errors/nbd-error.ts'

/** Says in which thread it ran, or fails. */
export function work({ fails }: { fails: boolean }): number {
  if (fails) throw new NBDError('transport', 'testing failure', { errno: 32 })
  return threadId
}
