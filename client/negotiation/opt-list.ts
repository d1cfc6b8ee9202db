/** NBD_OPT_LIST: which exports there are. */
import { printable } from '../../shared/config/printable.ts'
import type { CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { NBDError, protocolError } from '../../shared/errors/nbd-error.ts'
import { NBD_OPT_LIST, NBD_REP_SERVER } from '../../shared/protocol/constants.ts'
import { NBD_MAX_LIST_REPLIES, NBD_MAX_LIST_SIZE } from './limits.ts'
import { decodeServerReply } from './messages.ts'
import { unexpectedReply, type OptionExchange } from './option-exchange.ts'

export interface NamedExport {
  name: string
  /** Empty when there is none. */
  description: string
}

/**
 * @returns the exports in the server's order
 * @throws NBDError of kind `request` when the server does not list them, `protocol`, `transport`
 */
export function* optList(exchange: OptionExchange): CoroutineFn<NamedExport[]> {
  const exports: NamedExport[] = []
  let size = 0
  const take = (type: number, payload: Buffer): void => {
    if (type !== NBD_REP_SERVER) throw unexpectedReply(NBD_OPT_LIST, type)
    size += payload.length
    if (size > NBD_MAX_LIST_SIZE) throw protocolError(`a list of more than ${NBD_MAX_LIST_SIZE} bytes`)
    const reply = decodeServerReply(payload)
    if ('problem' in reply) throw protocolError(`NBD_REP_SERVER: ${printable(reply.problem)}`)
    exports.push(reply)
  }
  const refusal = yield* exchange.ask(NBD_OPT_LIST, undefined, take, NBD_MAX_LIST_REPLIES)
  if (!refusal) return exports
  const { kind, message, errno } = refusal.error
  throw new NBDError(kind, `the server does not list its exports: ${message}`, {
    ...(errno === undefined ? {} : { errno })
  })
}
