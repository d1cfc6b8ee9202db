/** What a handshake ended with. */
import {
  NBD_FLAG_BLOCK_STATUS_PAYLOAD,
  NBD_FLAG_SEND_DF,
  NBD_FLAG_SEND_FAST_ZERO,
  NBD_FLAG_SEND_WRITE_ZEROES
} from '../../shared/protocol/constants.ts'
import { NBD_MAX_BUFFER_SIZE, NBD_MAX_EXPORT_SIZE } from '../../shared/protocol/limits.ts'
import type { BlockSizes } from '../../shared/protocol/messages/export-info.ts'
import {
  NBD_MODE_EXTENDED,
  NBD_MODE_SIMPLE,
  NBD_MODE_STRUCTURED,
  type NBDMode
} from '../../shared/protocol/nbd-mode.ts'
import type { ExportInfo } from './messages.ts'

/** nbdinfo's names for the ways to shake hands. */
export type Handshake = 'oldstyle' | 'newstyle' | 'newstyle-fixed'

/** Metadata contexts that were negotiated: names by the ids that the server gave them. */
export type MetaContexts = ReadonlyMap<number, string>

/** What was agreed on besides the export. */
export interface Terms {
  handshake: Handshake
  mode: NBDMode
  contexts: MetaContexts
  /** All contexts that the server has for the export; undefined when it was not asked, or does not tell. */
  offeredContexts?: readonly string[] | undefined
}

/** Of a server that negotiates no more than the export. */
export const plainTerms = (handshake: Handshake): Terms => ({
  handshake,
  mode: NBD_MODE_SIMPLE,
  contexts: new Map()
})

export interface ExportDescription extends ExportInfo {
  /** The server's own name of the export, where it told one. */
  name: string | undefined
  description: string | undefined
  /** Undefined when the server did not tell any. */
  blockSizes: BlockSizes | undefined
}

export interface Negotiated extends Terms {
  /** Bytes; Infinity when the value on the wire is beyond 2^53 - 1. */
  size: number
  /** Transmission flags, without those that contradict what was negotiated. */
  flags: number
  exportName: string
  description: string
  /** To be obeyed. */
  blockSizes: BlockSizes
  /** The server told its block sizes; else they are what any server must bear. */
  blockSizesAdvertised: boolean
}

/** For a server that tells none. @see doc/proto.md "Size constraints" */
const DEFAULT_BLOCK_SIZES: BlockSizes = { minimum: 1, preferred: 4096, maximum: NBD_MAX_BUFFER_SIZE }

/** Puts together what the options brought. */
export function negotiated(
  exportName: string,
  terms: Terms,
  { size, flags, name, description, blockSizes }: ExportDescription
): Negotiated {
  return {
    ...terms,
    size: size > BigInt(NBD_MAX_EXPORT_SIZE) ? Infinity : Number(size),
    flags: consistent(flags, terms.mode),
    exportName: name ?? exportName,
    description: description ?? '',
    blockSizes: blockSizes ?? DEFAULT_BLOCK_SIZES,
    blockSizesAdvertised: blockSizes !== undefined
  }
}

/** R45: what cannot be used must not look as if it could. */
function consistent(flags: number, mode: NBDMode): number {
  let useful = flags
  if (mode < NBD_MODE_STRUCTURED) useful &= ~NBD_FLAG_SEND_DF
  if (mode < NBD_MODE_EXTENDED) useful &= ~NBD_FLAG_BLOCK_STATUS_PAYLOAD
  if ((flags & NBD_FLAG_SEND_WRITE_ZEROES) === 0) useful &= ~NBD_FLAG_SEND_FAST_ZERO
  return useful
}
