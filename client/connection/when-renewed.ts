/** Making a shared connection again, for those who have not opened it: by waiting for whoever has. */
import { aioWaitKick } from '../../shared/aio/aio-wait.ts'
import { configError } from '../../shared/errors/nbd-error.ts'
import type { Negotiated } from '../negotiation/negotiated.ts'
import { SharedConnection, type SharedConnectionHandle } from '../sharing/shared-connection.ts'
import { Connection } from './connection.ts'
import type { Open } from './opening.ts'

/** @returns takes part in the next connection, however long that takes to come */
export function whenRenewed(handle: SharedConnectionHandle, negotiated: Negotiated): Open {
  let known = SharedConnection.generation(handle)
  return async (_timeoutMs, signal) => {
    signal?.addEventListener('abort', aioWaitKick)
    try {
      const isThere = await SharedConnection.renewed(handle, known, () => signal?.aborted ?? false)
      signal?.throwIfAborted()
      if (!isThere) throw configError('whoever has opened the connection does not make it again')
    } finally {
      signal?.removeEventListener('abort', aioWaitKick)
    }
    known = SharedConnection.generation(handle)
    return Connection.attach(handle, negotiated)
  }
}
