/** NBD_CMD_CACHE: a hint that this range will be read soon. The kernel decides how much of it is worth the while. */
import { coAwait } from '../../shared/coroutine/aio-co.ts'
import type { CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import type { NBDRequest } from '../../shared/protocol/messages/request.ts'
import { replyDone } from './reply.ts'
import type { Transmission } from './transmission.ts'

export function* cmdCache({ exp, mode, writer }: Transmission, request: NBDRequest): CoroutineFn {
  if (request.length > 0) yield* coAwait(exp.node.prefetch(request.offset, request.length))
  replyDone(writer, request, mode)
}
