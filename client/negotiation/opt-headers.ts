/**
 * NBD_OPT_EXTENDED_HEADERS and NBD_OPT_STRUCTURED_REPLY: the form of what is sent in transmission, the best that both
 * sides know.
 *
 * @see doc/proto.md "Option types"; nbd_start_negotiate in QEMU's nbd/client.c
 */
import type { CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { NBD_OPT_EXTENDED_HEADERS, NBD_OPT_STRUCTURED_REPLY } from '../../shared/protocol/constants.ts'
import {
  NBD_MODE_EXTENDED,
  NBD_MODE_SIMPLE,
  NBD_MODE_STRUCTURED,
  type NBDMode
} from '../../shared/protocol/nbd-mode.ts'
import { unexpectedReply, type OptionExchange } from './option-exchange.ts'

/** @param best that is wanted @returns what the server agreed to */
export function* optHeaders(exchange: OptionExchange, best: NBDMode): CoroutineFn<NBDMode> {
  if (best >= NBD_MODE_EXTENDED && (yield* isAcknowledged(exchange, NBD_OPT_EXTENDED_HEADERS)))
    return NBD_MODE_EXTENDED
  if (best >= NBD_MODE_STRUCTURED && (yield* isAcknowledged(exchange, NBD_OPT_STRUCTURED_REPLY)))
    return NBD_MODE_STRUCTURED
  return NBD_MODE_SIMPLE
}

function* isAcknowledged(exchange: OptionExchange, option: number): CoroutineFn<boolean> {
  const refusal = yield* exchange.ask(option, undefined, (type) => {
    throw unexpectedReply(option, type)
  })
  return refusal === undefined
}
