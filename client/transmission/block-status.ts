/** BLOCK_STATUS over a range: as many requests as it takes, and extents without seams. */
import { NBD_CMD_BLOCK_STATUS, NBD_STATE_HOLE, NBD_STATE_ZERO } from '../../shared/protocol/constants.ts'
import { NBD_MAX_EFFECT_LENGTH } from './limits.ts'
import type { Command } from './pending-request.ts'

/** A part of an export in which the status is the same. */
export interface NBDExtent {
  offset: number
  length: number
  /** Of NBD_STATE_HOLE (1) and NBD_STATE_ZERO (2); 0 is data, or not known. */
  flags: number
}

/** Others are reserved, and to be ignored. */
const KNOWN_FLAGS = NBD_STATE_HOLE | NBD_STATE_ZERO

/**
 * Extents of the range, in order, without a gap; neighbours differ in their flags.
 *
 * @param send sends a request, and returns lengths and flags of what the server tells, in turn
 */
export async function* blockStatus(
  start: number,
  length: number,
  send: (command: Command) => Promise<number[]>
): AsyncGenerator<NBDExtent, void, undefined> {
  const end = start + length
  let extent: NBDExtent | undefined
  for (let offset = start; offset < end;) {
    const asked = Math.min(end - offset, NBD_MAX_EFFECT_LENGTH)
    const told = await send({ type: NBD_CMD_BLOCK_STATUS, flags: 0, offset, length: asked })
    for (let i = 0; i < told.length && offset < end; i += 2) {
      // The last one may go on behind what was asked for.
      const piece = Math.min(told[i]!, end - offset)
      const flags = told[i + 1]! & KNOWN_FLAGS
      if (extent?.flags === flags) {
        extent.length += piece
      } else {
        if (extent) yield extent
        extent = { offset, length: piece, flags }
      }
      offset += piece
    }
  }
  if (extent) yield extent
}

/** What of the extents lies between `start` and `end`. */
export async function* cutExtents(
  extents: AsyncIterable<NBDExtent>,
  start: number,
  end: number
): AsyncGenerator<NBDExtent, void, undefined> {
  for await (const extent of extents) {
    const from = Math.max(extent.offset, start)
    yield { ...extent, offset: from, length: Math.min(extent.offset + extent.length, end) - from }
  }
}
