/** NBD_CMD_TRIM: a hint; what cannot be discarded stays as it is. */
import { NBD_CMD_FLAG_FUA } from '../../shared/protocol/constants.ts'
import { coAwait } from '../../shared/coroutine/aio-co.ts'
import type { CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { NBD_MAX_EFFECT_PIECE } from '../../shared/protocol/limits.ts'
import type { NBDRequest } from '../../shared/protocol/messages/request.ts'
import { inPieces } from './in-pieces.ts'
import { replyDone } from './reply.ts'
import type { Transmission } from './transmission.ts'

export function* cmdTrim(transmission: Transmission, request: NBDRequest): CoroutineFn {
  const { exp, mode, writer } = transmission
  yield* inPieces(transmission, request, NBD_MAX_EFFECT_PIECE, (offset, length) =>
    exp.node.pdiscard(offset, length)
  )
  if ((request.flags & NBD_CMD_FLAG_FUA) !== 0) yield* coAwait(exp.node.flush())
  replyDone(writer, request, mode)
}
