/**
 * NBD_OPT_SET_META_CONTEXT: chooses what NBD_CMD_BLOCK_STATUS is to tell about. Needs structured replies.
 *
 * NBD_OPT_LIST_META_CONTEXT: what there is to choose from.
 */
import type { CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { printable } from '../../shared/config/printable.ts'
import { configError, protocolError } from '../../shared/errors/nbd-error.ts'
import {
  BASE_ALLOCATION,
  NBD_OPT_LIST_META_CONTEXT,
  NBD_OPT_SET_META_CONTEXT,
  NBD_REP_META_CONTEXT
} from '../../shared/protocol/constants.ts'
import { encodeMetaContextQuery } from '../../shared/protocol/messages/meta-context.ts'
import { stringProblem } from '../../shared/protocol/string.ts'
import { NBD_MAX_CONTEXTS_SIZE } from './limits.ts'
import { decodeMetaContextReply } from './messages.ts'
import type { MetaContexts } from './negotiated.ts'
import { unexpectedReply, type OptionExchange } from './option-exchange.ts'

/**
 * The contexts that a user asks for, each once.
 *
 * @param wanted base:allocation if not given
 * @throws NBDError of kind `config`
 */
export function checkedContexts(wanted: readonly string[] = [BASE_ALLOCATION]): string[] {
  for (const name of wanted) {
    const problem = name === '' ? 'is empty' : stringProblem(name)
    if (problem !== undefined) throw configError(`the metadata context '${printable(name)}' ${problem}`)
  }
  const names = [...new Set(wanted)]
  const size = names.reduce((sum, name) => sum + 4 + Buffer.byteLength(name), 0)
  if (size > NBD_MAX_CONTEXTS_SIZE)
    throw configError(`the metadata contexts have ${size} bytes, more than ${NBD_MAX_CONTEXTS_SIZE}`)
  return names
}

/**
 * @param wanted names of contexts, each once
 * @returns those of them that the server has
 * @throws NBDError of kind `protocol` when the server chooses others, or gives an id twice
 */
export function* optSetMetaContext(
  exchange: OptionExchange,
  exportName: string,
  wanted: readonly string[]
): CoroutineFn<MetaContexts> {
  const contexts = new Map<number, string>()
  const left = new Set(wanted)
  const query = encodeMetaContextQuery(exportName, wanted)
  const refusal = yield* exchange.ask(NBD_OPT_SET_META_CONTEXT, query, (type, payload) => {
    const { id, context } = takeContext(NBD_OPT_SET_META_CONTEXT, type, payload)
    if (!left.delete(context)) {
      const why = wanted.includes(context) ? ' twice' : ', which was not asked for'
      throw protocolError(`the server chose the context '${printable(context)}'${why}`)
    }
    if (contexts.has(id)) throw protocolError(`the server gave the id ${id} to two contexts`)
    contexts.set(id, context)
  })
  return refusal === undefined ? contexts : new Map()
}

/** @returns the names of all contexts of an export; undefined when the server does not tell */
export function* optListMetaContext(
  exchange: OptionExchange,
  exportName: string
): CoroutineFn<string[] | undefined> {
  const names: string[] = []
  // Without a query, everything is listed.
  const query = encodeMetaContextQuery(exportName, [])
  const refusal = yield* exchange.ask(NBD_OPT_LIST_META_CONTEXT, query, (type, payload) => {
    names.push(takeContext(NBD_OPT_LIST_META_CONTEXT, type, payload).context)
  })
  return refusal === undefined ? names : undefined
}

function takeContext(option: number, type: number, payload: Buffer): { id: number; context: string } {
  if (type !== NBD_REP_META_CONTEXT) throw unexpectedReply(option, type)
  const reply = decodeMetaContextReply(payload)
  if ('problem' in reply) throw protocolError(`NBD_REP_META_CONTEXT: ${reply.problem}`)
  return reply
}
