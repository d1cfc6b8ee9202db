/** NBD_CMD_WRITE. */
import { coAwait } from '../../shared/coroutine/aio-co.ts'
import type { CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import type { NBDRequest } from '../../shared/protocol/messages/request.ts'
import type { Memory } from '../../shared/syscall/memory.ts'
import { replyDone } from './reply.ts'
import type { Transmission } from './transmission.ts'

/**
 * Writes at once and replies, if that can be done without waiting.
 *
 * @param address of the payload
 * @returns false when nothing was replied and `cmdWrite` must follow
 */
export function cmdWriteNowait(transmission: Transmission, request: NBDRequest, address: number): boolean {
  const { exp, mode, writer } = transmission
  if (exp.isDurable(request.flags)) return false
  if (request.length > 0 && !exp.node.pwriteNowait(address, request.offset, request.length)) return false
  replyDone(writer, request, mode)
  return true
}

/** @param memory with the payload at `at`, the callee's until it returns */
export function* cmdWrite(
  transmission: Transmission,
  request: NBDRequest,
  memory: Memory,
  at: number
): CoroutineFn {
  const { exp, mode, writer } = transmission
  const { flags, offset, length } = request
  const fua = exp.isDurable(flags)
  const withFua = fua && exp.node.takesFua === true
  if (length > 0) yield* coAwait(exp.node.pwrite(memory, at, offset, length, withFua))
  if (fua && !withFua) yield* coAwait(exp.node.flush())
  replyDone(writer, request, mode)
}
