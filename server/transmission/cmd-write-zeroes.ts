/** NBD_CMD_WRITE_ZEROES: may make a hole unless NO_HOLE; with FAST_ZERO fails where it would be no faster than writing. */
import { NBD_CMD_FLAG_FAST_ZERO, NBD_CMD_FLAG_NO_HOLE } from '../../shared/protocol/constants.ts'
import { coAwait } from '../../shared/coroutine/aio-co.ts'
import type { CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { NBD_MAX_EFFECT_PIECE } from '../../shared/protocol/limits.ts'
import type { NBDRequest } from '../../shared/protocol/messages/request.ts'
import { inPieces } from './in-pieces.ts'
import { replyDone } from './reply.ts'
import type { Transmission } from './transmission.ts'

export function* cmdWriteZeroes(transmission: Transmission, request: NBDRequest): CoroutineFn {
  const { exp, mode, writer } = transmission
  const { flags } = request
  const fua = exp.isDurable(flags)
  const withFua = fua && exp.node.takesFua === true
  const options = {
    mayUnmap: (flags & NBD_CMD_FLAG_NO_HOLE) === 0,
    noFallback: (flags & NBD_CMD_FLAG_FAST_ZERO) !== 0,
    fua: withFua
  }
  yield* inPieces(transmission, request, NBD_MAX_EFFECT_PIECE, (offset, length) =>
    exp.node.pwriteZeroes(offset, length, options)
  )
  if (fua && !withFua) yield* coAwait(exp.node.flush())
  replyDone(writer, request, mode)
}
