/** BLOCK_STATUS over a range: as many requests as it takes, and extents without seams. */
import {
  BASE_ALLOCATION,
  NBD_CMD_BLOCK_STATUS,
  NBD_STATE_HOLE,
  NBD_STATE_ZERO
} from '../../shared/protocol/constants.ts'
import { NBD_MAX_EFFECT_LENGTH } from './limits.ts'
import { isTooLong } from './parts.ts'
import type { Command, Status } from './pending-request.ts'

/** A part of an export in which the status is the same. */
export interface NBDExtent {
  offset: number
  length: number
  /**
   * What the context says. For base:allocation, NBD_STATE_HOLE (1) and NBD_STATE_ZERO (2); 0 is data, or not known. With
   * extended headers it may have 53 bits.
   */
  flags: number
}

/** A part of an export in which the status is the same in every context. */
export interface NBDStatus {
  offset: number
  length: number
  /** By the name of the context. */
  flags: Record<string, number>
}

/** Who is asked. */
export interface StatusSource {
  /** Sends a request, and returns what the server tells. */
  send: (command: Command) => Promise<Status>
  /** Requests may be longer than NBD_MAX_EFFECT_LENGTH. */
  extended: boolean
}

/** Of base:allocation; others are reserved, and to be ignored. */
const KNOWN_FLAGS = NBD_STATE_HOLE | NBD_STATE_ZERO

/** Extents of the range in one context, in order, without a gap; neighbours differ in their flags. */
export const blockStatus = (
  start: number,
  length: number,
  context: string,
  source: StatusSource
): AsyncGenerator<NBDExtent, void, undefined> =>
  joined(
    start,
    length,
    source,
    (told) => piecesOf(told, context),
    (one, other) => one === other
  )

/** Extents of the range over all these contexts, in order, without a gap; neighbours differ in some context. */
export const blockStatusAll = (
  start: number,
  length: number,
  contexts: readonly string[],
  source: StatusSource
): AsyncGenerator<NBDStatus, void, undefined> =>
  joined(
    start,
    length,
    source,
    (told) => commonPieces(told, contexts),
    (one, other) => contexts.every((context) => one[context] === other[context])
  )

interface Piece<Flags> {
  length: number
  flags: Flags
}

/**
 * @param pieces of a reply, at least one
 * @param same whether two neighbours are one
 */
async function* joined<Flags>(
  start: number,
  length: number,
  { send, extended }: StatusSource,
  pieces: (told: Status) => Iterable<Piece<Flags>>,
  same: (one: Flags, other: Flags) => boolean
): AsyncGenerator<{ offset: number; length: number; flags: Flags }, void, undefined> {
  const end = start + length
  let most = extended ? Infinity : NBD_MAX_EFFECT_LENGTH
  let extent: { offset: number; length: number; flags: Flags } | undefined
  for (let offset = start; offset < end;) {
    const asked = Math.min(end - offset, most)
    let told: Status
    try {
      told = await send({ type: NBD_CMD_BLOCK_STATUS, flags: 0, offset, length: asked })
    } catch (error) {
      if (asked <= NBD_MAX_EFFECT_LENGTH || !isTooLong(error)) throw error
      most = NBD_MAX_EFFECT_LENGTH
      continue
    }
    for (const { length, flags } of pieces(told)) {
      // The last one may go on behind what was asked for.
      const piece = Math.min(length, end - offset)
      if (piece === 0) break
      if (extent && same(extent.flags, flags)) {
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

function* piecesOf(told: Status, context: string): Generator<Piece<number>> {
  const extents = told.get(context)!
  const isBase = context === BASE_ALLOCATION
  for (let i = 0; i < extents.length; i += 2) {
    const flags = extents[i + 1]!
    yield { length: extents[i]!, flags: isBase ? flags & KNOWN_FLAGS : flags }
  }
}

/** Up to where the first of the contexts says no more. */
function* commonPieces(told: Status, contexts: readonly string[]): Generator<Piece<Record<string, number>>> {
  const cursors = contexts.map((context) => ({
    context,
    pieces: piecesOf(told, context),
    piece: { length: 0, flags: 0 }
  }))
  for (;;) {
    const flags: Record<string, number> = {}
    for (const cursor of cursors) {
      if (cursor.piece.length === 0) {
        const next = cursor.pieces.next()
        if (next.done) return
        cursor.piece = next.value
      }
      flags[cursor.context] = cursor.piece.flags
    }
    const length = Math.min(...cursors.map(({ piece }) => piece.length))
    for (const { piece } of cursors) piece.length -= length
    yield { length, flags }
  }
}

/** What of the extents lies between `start` and `end`. */
export async function* cutExtents<Extent extends { offset: number; length: number }>(
  extents: AsyncIterable<Extent>,
  start: number,
  end: number
): AsyncGenerator<Extent, void, undefined> {
  for await (const extent of extents) {
    const from = Math.max(extent.offset, start)
    yield { ...extent, offset: from, length: Math.min(extent.offset + extent.length, end) - from }
  }
}
