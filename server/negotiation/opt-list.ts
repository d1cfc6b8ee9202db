/** NBD_OPT_LIST: a reply for each export, with its description behind the name. */
import { NBD_REP_ACK, NBD_REP_ERR_INVALID, NBD_REP_SERVER } from '../../shared/protocol/constants.ts'
import type { OptionHandler } from './option-context.ts'

export const optList: OptionHandler = function* ({ payload, state, reply, refuse }) {
  if (payload.length > 0) {
    yield* refuse(NBD_REP_ERR_INVALID, 'NBD_OPT_LIST takes no payload')
    return 'go on'
  }
  for (const { name, description } of state.exports.list()) {
    const length = Buffer.alloc(4)
    length.writeUInt32BE(Buffer.byteLength(name))
    yield* reply(NBD_REP_SERVER, Buffer.concat([length, Buffer.from(name), Buffer.from(description)]))
  }
  yield* reply(NBD_REP_ACK)
  return 'go on'
}
