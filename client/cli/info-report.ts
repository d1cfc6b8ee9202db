/** What is known of exports, as nbdinfo prints it: lines, or JSON with the same keys. */
import { printable } from '../../shared/config/printable.ts'
import type { BlockSizes } from '../../shared/protocol/messages/export-info.ts'
import type { NBDPackets } from '../../shared/protocol/nbd-mode.ts'
import type { NBDFlags } from '../flags.ts'
import type { Handshake } from '../negotiation/negotiated.ts'

export interface ReportedExport {
  name: string
  description: string
  /** Bytes; Infinity when it is beyond 2^53 - 1. */
  size: number
  content: string | undefined
  uri: string
  /** Undefined when the server does not tell. */
  contexts: readonly string[] | undefined
  flags: NBDFlags
  blockSizes: BlockSizes
  blockSizesAdvertised: boolean
}

export interface ReportedServer {
  handshake: Handshake
  tls: boolean
  packets: NBDPackets
  exports: ReportedExport[]
}

export function reportJson({ handshake, tls, packets, exports }: ReportedServer): string {
  // What extended headers bring is structured, too.
  const protocol = { structured: packets !== 'simple', extended: packets === 'extended' }
  const server = { protocol: handshake, TLS: tls, ...protocol, exports: exports.map(jsonOf) }
  return `${JSON.stringify(server, null, 2)}\n`
}

export function reportText({ handshake, tls, packets, exports }: ReportedServer): string {
  const head = `protocol: ${handshake} ${tls ? 'with' : 'without'} TLS, using ${packets} packets`
  return [head, ...exports.flatMap(linesOf)].map((line) => `${line}\n`).join('')
}

/** One export, with nbdinfo's keys. */
export function jsonOf(reported: ReportedExport): Record<string, unknown> {
  const { name, description, content, uri, contexts, size } = reported
  return {
    'export-name': name,
    ...(description === '' ? {} : { description }),
    ...(content === undefined ? {} : { content }),
    uri,
    ...(contexts === undefined ? {} : { contexts }),
    ...facts(reported),
    'export-size': size,
    'export-size-str': shortSize(size)
  }
}

function linesOf(reported: ReportedExport): string[] {
  const { name, description, content, uri, contexts, size } = reported
  const lines = [
    ...(description === '' ? [] : [`description: ${printable(description)}`]),
    `export-size: ${bothSizes(size)}`,
    ...(content === undefined ? [] : [`content: ${content}`]),
    `uri: ${uri}`,
    ...(contexts === undefined ? [] : ['contexts:', ...contexts.map((context) => `\t${printable(context)}`)]),
    ...Object.entries(facts(reported)).map(
      ([key, value]) => `${key}: ${typeof value === 'number' ? bothSizes(value) : value}`
    )
  ]
  return [`export=${JSON.stringify(printable(name))}:`, ...lines.map((line) => `\t${line}`)]
}

const facts = ({
  flags,
  blockSizes,
  blockSizesAdvertised
}: ReportedExport): Record<string, boolean | number> => ({
  is_rotational: flags.rotational,
  is_read_only: flags.readOnly,
  can_block_status_payload: flags.canBlockStatusPayload,
  can_cache: flags.canCache,
  can_df: flags.canDf,
  can_fast_zero: flags.canFastZero,
  can_flush: flags.canFlush,
  can_fua: flags.canFua,
  can_multi_conn: flags.canMultiConn,
  can_trim: flags.canTrim,
  can_zero: flags.canZero,
  ...(blockSizesAdvertised
    ? {
        block_size_minimum: blockSizes.minimum,
        block_size_preferred: blockSizes.preferred,
        block_size_maximum: blockSizes.maximum
      }
    : {})
})

/** `1048576 (1M)`; once, where there is no shorter form. */
function bothSizes(size: number): string {
  const short = shortSize(size)
  return short === String(size) ? short : `${size} (${short})`
}

/** `1M`, where the size is a whole number of such units; else all of its digits. */
function shortSize(size: number): string {
  let power = 0
  let value = size
  while (value >= 1024 && value % 1024 === 0 && power < 'KMGTPE'.length) {
    value /= 1024
    power++
  }
  return power === 0 ? String(size) : `${value}${'KMGTPE'[power - 1]}`
}
