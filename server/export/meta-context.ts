/**
 * Metadata contexts: what BLOCK_STATUS can tell of an export.
 *
 * @see doc/proto.md "Metadata querying"
 */
import type { BlockExtent } from '../../shared/block/block-node.ts'
import { BASE_ALLOCATION } from '../../shared/protocol/constants.ts'
import type { NBDExport } from './nbd-export.ts'

export interface MetaContext {
  readonly name: string
  /** Chosen by us for the connection; opaque to the client. */
  readonly id: number
  /** @see BlockNode.blockStatus */
  blockStatus(exp: NBDExport, offset: number, length: number, most: number): Promise<BlockExtent[]>
}

const baseAllocation: MetaContext = {
  name: BASE_ALLOCATION,
  id: 1,
  blockStatus: (exp, offset, length, most) => exp.node.blockStatus(offset, length, most)
}

/** Every context that an export has. */
export const contextsOf = (_exp: NBDExport): MetaContext[] => [baseAllocation]

/**
 * The contexts that a query of LIST_META_CONTEXT names: one by its whole name, or all of a namespace by `base:`.
 * An unknown namespace names none.
 */
export const listContexts = (exp: NBDExport, query: string): MetaContext[] =>
  contextsOf(exp).filter(({ name }) => name === query || (query.endsWith(':') && name.startsWith(query)))

/** The contexts that a query of SET_META_CONTEXT selects: a wildcard selects nothing. */
export const selectContexts = (exp: NBDExport, query: string): MetaContext[] =>
  contextsOf(exp).filter(({ name }) => name === query)
