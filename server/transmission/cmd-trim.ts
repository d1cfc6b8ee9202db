/** NBD_CMD_TRIM: a hint; what cannot be discarded stays as it is. */
import { NBD_CMD_FLAG_FUA } from '../../shared/protocol/constants.ts'
import { coAwait } from '../../shared/coroutine/aio-co.ts'
import type { CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import type { NBDRequest } from '../../shared/protocol/messages/request.ts'
import { replyDone } from './reply.ts'
import type { Transmission } from './transmission.ts'

export function* cmdTrim({ exp, structured, writer }: Transmission, request: NBDRequest): CoroutineFn {
  if (request.length > 0) yield* coAwait(exp.node.pdiscard(request.offset, request.length))
  if ((request.flags & NBD_CMD_FLAG_FUA) !== 0) yield* coAwait(exp.node.flush())
  replyDone(writer, request, structured)
}
