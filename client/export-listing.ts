/** An export on a server's list, as a program sees it. */
import type { NBDError } from '../shared/errors/nbd-error.ts'
import type { BlockSizes } from '../shared/protocol/messages/export-info.ts'
import { NBD_MODE_STRUCTURED } from '../shared/protocol/nbd-mode.ts'
import { flagsOf, type NBDFlags } from './flags.ts'
import type { ListedExport } from './negotiation/listing.ts'
import type { Negotiated } from './negotiation/negotiated.ts'
import { BASE_ALLOCATION } from '../shared/protocol/constants.ts'

/** What the server tells about an export to who is not connected to it. */
export interface ExportDetails {
  /** The server's own name of it, if it told one; else the one on the list. */
  exportName: string
  /** For people; empty when there is none. */
  description: string
  /** Bytes; Infinity when it is beyond 2^53 - 1, and cannot be connected to. */
  size: number
  flags: NBDFlags
  blockSizes: Readonly<BlockSizes>
  /** Whether the server told them, or they are the protocol's defaults. */
  blockSizesAdvertised: boolean
  /** All metadata contexts that the export has; undefined when the server does not tell. */
  metaContexts: readonly string[] | undefined
}

export interface ExportListing {
  name: string
  /** For people; empty when there is none. */
  description: string
  /** Undefined when the server tells no more than this. */
  details: ExportDetails | undefined
  /** Why it does not, when it refused. */
  refusal: NBDError | undefined
}

export const exportListing = ({ name, description, details, refusal }: ListedExport): ExportListing => ({
  name,
  // What the export itself says is no older than the list.
  description: details?.description || description,
  details: details && exportDetails(details),
  refusal
})

const exportDetails = (negotiated: Negotiated): ExportDetails => ({
  exportName: negotiated.exportName,
  description: negotiated.description,
  size: negotiated.size,
  flags: { ...flagsOf(negotiated), canBlockStatus: canBlockStatus(negotiated) },
  blockSizes: negotiated.blockSizes,
  blockSizesAdvertised: negotiated.blockSizesAdvertised,
  metaContexts: negotiated.offeredContexts
})

/** Not negotiated yet; it could be. */
const canBlockStatus = ({ mode, offeredContexts = [] }: Negotiated): boolean =>
  mode >= NBD_MODE_STRUCTURED && offeredContexts.includes(BASE_ALLOCATION)
