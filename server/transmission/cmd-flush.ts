/** NBD_CMD_FLUSH: covers every write that was answered, on all connections of the export. */
import { coAwait } from '../../shared/coroutine/aio-co.ts'
import type { CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import type { NBDRequest } from '../../shared/protocol/messages/request.ts'
import { replyDone } from './reply.ts'
import type { Transmission } from './transmission.ts'

export function* cmdFlush({ exp, mode, writer }: Transmission, request: NBDRequest): CoroutineFn {
  yield* coAwait(exp.node.flush())
  replyDone(writer, request, mode)
}
