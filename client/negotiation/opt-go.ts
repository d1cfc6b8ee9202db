/** NBD_OPT_INFO: what an export is. NBD_OPT_GO: the same, and into transmission. */
import type { CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { protocolError } from '../../shared/errors/nbd-error.ts'
import {
  NBD_INFO_BLOCK_SIZE,
  NBD_INFO_DESCRIPTION,
  NBD_INFO_EXPORT,
  NBD_INFO_NAME,
  NBD_OPT_GO,
  NBD_OPT_INFO,
  NBD_REP_ERR_UNSUP,
  NBD_REP_INFO
} from '../../shared/protocol/constants.ts'
import { nbdInfoLookup, nbdOptLookup } from '../../shared/protocol/lookup.ts'
import type { BlockSizes } from '../../shared/protocol/messages/export-info.ts'
import { encodeInfoRequest } from '../../shared/protocol/messages/info-request.ts'
import { decodeInfoBlockSize, decodeInfoExport, decodeInfoText, type ExportInfo } from './messages.ts'
import type { ExportDescription } from './negotiated.ts'
import { unexpectedReply, type OptionExchange } from './option-exchange.ts'

const WANTED = [NBD_INFO_NAME, NBD_INFO_DESCRIPTION, NBD_INFO_BLOCK_SIZE]
const MAX_MINIMUM = 65536

/** What has come of the information so far. */
interface Informed extends Partial<Omit<ExportDescription, keyof ExportInfo>> {
  export?: ExportInfo
}

/**
 * @returns the export, in transmission; undefined when the server does not know this option
 * @throws NBDError of kind `request` when the server refuses the export
 */
export const optGo = (exchange: OptionExchange, name: string): CoroutineFn<ExportDescription | undefined> =>
  ask(exchange, NBD_OPT_GO, name)

/** As `optGo`, and the negotiation goes on. */
export const optInfo = (exchange: OptionExchange, name: string): CoroutineFn<ExportDescription | undefined> =>
  ask(exchange, NBD_OPT_INFO, name)

function* ask(
  exchange: OptionExchange,
  option: number,
  name: string
): CoroutineFn<ExportDescription | undefined> {
  const informed: Informed = {}
  const refusal = yield* exchange.ask(option, encodeInfoRequest(name, WANTED), (type, payload) => {
    if (type !== NBD_REP_INFO) throw unexpectedReply(option, type)
    takeInfo(informed, payload)
  })
  if (refusal?.type === NBD_REP_ERR_UNSUP) return undefined
  if (refusal) throw refusal.error
  if (!informed.export)
    throw protocolError(`${nbdOptLookup(option)} was acknowledged without NBD_INFO_EXPORT`)
  const { name: told, description, blockSizes } = informed
  return { ...informed.export, name: told, description, blockSizes }
}

/** Information that we do not know is ignored, as the specification demands. */
function takeInfo(informed: Informed, payload: Buffer): void {
  if (payload.length < 2) throw protocolError(`NBD_REP_INFO with ${payload.length} bytes of payload`)
  const info = payload.readUInt16BE(0)
  const malformed = (why: string): Error => protocolError(`${nbdInfoLookup(info)}: ${why}`)
  if (info === NBD_INFO_EXPORT) {
    informed.export = decodeInfoExport(payload)
    if (!informed.export) throw malformed(`a payload of ${payload.length} bytes`)
  } else if (info === NBD_INFO_NAME || info === NBD_INFO_DESCRIPTION) {
    const text = decodeInfoText(payload)
    if (typeof text !== 'string') throw malformed(`the text ${text.problem}`)
    informed[info === NBD_INFO_NAME ? 'name' : 'description'] = text
  } else if (info === NBD_INFO_BLOCK_SIZE) {
    informed.blockSizes = decodeInfoBlockSize(payload)
    if (!informed.blockSizes) throw malformed(`a payload of ${payload.length} bytes`)
    const problem = blockSizesProblem(informed.blockSizes)
    if (problem !== undefined) throw malformed(problem)
  }
}

const isPowerOf2 = (n: number): boolean => n > 0 && (n & (n - 1)) === 0

/**
 * Sizes that could not be obeyed. Of the specification's rules for the preferred size, only those are held against a
 * server that matter to a client.
 *
 * @see nbd_opt_info_or_go in QEMU's nbd/client.c, which draws the same line
 */
function blockSizesProblem({ minimum, preferred, maximum }: BlockSizes): string | undefined {
  if (!isPowerOf2(minimum) || minimum > MAX_MINIMUM)
    return `the minimum ${minimum} is no power of 2 up to ${MAX_MINIMUM}`
  if (!isPowerOf2(preferred) || preferred < minimum)
    return `the preferred size ${preferred} is no power of 2 from the minimum ${minimum} on`
  if (maximum < minimum) return `the maximum ${maximum} is less than the minimum ${minimum}`
  return undefined
}
