/**
 * NBD_OPT_EXPORT_NAME: the old way into transmission. It knows no error reply; an unknown name ends the connection.
 */
import type { CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { protocolError } from '../../shared/errors/nbd-error.ts'
import { encodeExportNameAnswer } from '../../shared/protocol/messages/export-info.ts'
import { decodeString } from '../../shared/protocol/string.ts'
import { NBD_MODE_EXTENDED, NBD_MODE_STRUCTURED } from '../../shared/protocol/nbd-mode.ts'
import { transmit, type NegotiationState, type Negotiated } from './option-context.ts'

/**
 * @param write sends bytes that are no option reply
 * @throws NBDError of kind `protocol`
 */
export function* optExportName(
  payload: Buffer,
  state: NegotiationState,
  write: (bytes: Buffer) => CoroutineFn
): CoroutineFn<Negotiated> {
  // Its answer has no form with extended headers; the specification forbids it.
  if (state.mode >= NBD_MODE_EXTENDED)
    throw protocolError('NBD_OPT_EXPORT_NAME after NBD_OPT_EXTENDED_HEADERS')
  const name = decodeString(payload)
  if (typeof name !== 'string') throw protocolError(`NBD_OPT_EXPORT_NAME: the name ${name.problem}`)
  const exp = state.exports.find(name)
  if (typeof exp === 'string') throw protocolError(`NBD_OPT_EXPORT_NAME: ${exp}`)
  yield* write(
    encodeExportNameAnswer(exp.size, exp.flags(state.mode >= NBD_MODE_STRUCTURED), !state.noZeroes)
  )
  return transmit(exp, state)
}
