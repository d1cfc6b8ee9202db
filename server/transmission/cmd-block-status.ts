/** NBD_CMD_BLOCK_STATUS: one chunk for each context that was negotiated. */
import { NBD_CMD_FLAG_REQ_ONE } from '../../shared/protocol/constants.ts'
import { NBD_MAX_EXTENTS } from '../../shared/protocol/limits.ts'
import { coAwait } from '../../shared/coroutine/aio-co.ts'
import type { CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import type { NBDRequest } from '../../shared/protocol/messages/request.ts'
import { replyBlockStatus } from './reply.ts'
import type { Transmission } from './transmission.ts'

export function* cmdBlockStatus(transmission: Transmission, request: NBDRequest): CoroutineFn {
  const { exp, mode, contexts, writer } = transmission
  const most = (request.flags & NBD_CMD_FLAG_REQ_ONE) !== 0 ? 1 : NBD_MAX_EXTENTS
  // All are found before the first chunk goes out: a failure then is one clean error.
  const found = yield* coAwait(
    Promise.all(contexts.map((context) => context.blockStatus(exp, request.offset, request.length, most)))
  )
  contexts.forEach(({ id }, i) => {
    replyBlockStatus(writer, request, mode, id, found[i]!, i === contexts.length - 1)
  })
}
