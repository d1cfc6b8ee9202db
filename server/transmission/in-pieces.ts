/** Effects without payload, which may have 64 bits: in pieces, so that none keeps anybody waiting for long. */
import { constants } from 'node:os'
import { coAwait } from '../../shared/coroutine/aio-co.ts'
import type { CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { systemError } from '../../shared/errors/system-error.ts'
import type { NBDRequest } from '../../shared/protocol/messages/request.ts'
import type { Transmission } from './transmission.ts'

/**
 * Calls `work` for one piece of the request after the other. The export may be drained between two.
 *
 * @param most length of a piece; pieces end at its multiples, so that they fit every block size
 * @throws what `work` does; NBDError ECANCELED when the connection is broken
 */
export function* inPieces(
  { exp: { gate }, isBroken }: Transmission,
  { offset, length }: NBDRequest,
  most: number,
  work: (offset: number, length: number) => Promise<void>
): CoroutineFn {
  const end = offset + length
  for (let at = offset; at < end;) {
    const next = Math.min(end, at - (at % most) + most)
    yield* coAwait(work(at, next - at))
    at = next
    if (at === end) return
    if (isBroken()) throw systemError(constants.errno.ECANCELED, 'the connection has ended')
    gate.leave()
    while (!gate.tryEnter()) yield* gate.untilOpen()
  }
}
