/**
 * Status chunks, compact and extended: an id of a context, and extents.
 *
 * @see doc/proto.md "NBD_REPLY_TYPE_BLOCK_STATUS", "NBD_REPLY_TYPE_BLOCK_STATUS_EXT"
 */
import { constants } from 'node:os'
import { NBDError, protocolError } from '../../shared/errors/nbd-error.ts'
import {
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_BLOCK_STATUS_EXT
} from '../../shared/protocol/constants.ts'
import {
  NBD_EXTENDED_CONTEXT_SIZE,
  NBD_EXTENDED_EXTENT_SIZE
} from '../../shared/protocol/messages/extended-chunk.ts'
import { NBD_CHUNK_CONTEXT_SIZE, NBD_EXTENT_SIZE } from '../../shared/protocol/messages/structured-chunk.ts'
import { readUint64 } from '../../shared/protocol/uint64.ts'
import type { MetaContexts } from '../negotiation/negotiated.ts'
import { NBD_MAX_EXTENDED_STATUS_CHUNK_SIZE, NBD_MAX_STATUS_CHUNK_SIZE } from './limits.ts'
import { describe, type Command, type PendingRequest } from './pending-request.ts'

/** What status chunks are made of. */
export interface StatusForm {
  type: number
  /** Payload at most, in bytes. */
  max: number
  contextSize: number
  extentSize: number
}

export const COMPACT_STATUS: StatusForm = {
  type: NBD_REPLY_TYPE_BLOCK_STATUS,
  max: NBD_MAX_STATUS_CHUNK_SIZE,
  contextSize: NBD_CHUNK_CONTEXT_SIZE,
  extentSize: NBD_EXTENT_SIZE
}

export const EXTENDED_STATUS: StatusForm = {
  type: NBD_REPLY_TYPE_BLOCK_STATUS_EXT,
  max: NBD_MAX_EXTENDED_STATUS_CHUNK_SIZE,
  contextSize: NBD_EXTENDED_CONTEXT_SIZE,
  extentSize: NBD_EXTENDED_EXTENT_SIZE
}

/**
 * @param contexts that were negotiated
 * @returns where the extents go
 * @throws NBDError of kind `protocol`
 */
export function takeContext(
  request: PendingRequest,
  buf: Buffer,
  at: number,
  contexts: MetaContexts
): number[] {
  const id = buf.readUInt32BE(at)
  const context = contexts.get(id)
  if (context === undefined)
    throw protocolError(`status of context ${id}, which was not negotiated, for ${describe(request.command)}`)
  if (request.status.has(context))
    throw protocolError(`status of context ${id} twice for ${describe(request.command)}`)
  const extents: number[] = []
  request.status.set(context, extents)
  return extents
}

/**
 * The number of extents that an extended chunk announces.
 *
 * @param length of the chunk's payload
 * @throws NBDError of kind `protocol` when it has room for another number
 */
export function checkExtentCount({ command }: PendingRequest, buf: Buffer, at: number, length: number): void {
  const told = buf.readUInt32BE(at + NBD_CHUNK_CONTEXT_SIZE)
  const there = (length - NBD_EXTENDED_CONTEXT_SIZE) / NBD_EXTENDED_EXTENT_SIZE
  if (told !== there)
    throw protocolError(`${told} extents announced, and ${there} sent, for ${describe(command)}`)
}

/**
 * Takes an extent; what lies behind the request is not asked for, and not kept.
 *
 * @param extents of the context that the chunk is about
 * @param covered sum of the lengths of the extents before it
 * @returns its length
 * @throws NBDError of kind `protocol`
 */
export function takeExtent(
  { command }: PendingRequest,
  extents: number[],
  buf: Buffer,
  at: number,
  covered: number
): number {
  return addExtent(command, extents, buf.readUInt32BE(at), buf.readUInt32BE(at + 4), covered)
}

/** As `takeExtent`, of an extended chunk. Flags beyond 2^53 - 1, which no context has, fail the request. */
export function takeExtendedExtent(
  request: PendingRequest,
  extents: number[],
  buf: Buffer,
  at: number,
  covered: number
): number {
  const { command } = request
  // What is not exact goes beyond every end, and is cut there.
  const length = Math.min(readUint64(buf, at), Number.MAX_SAFE_INTEGER)
  const flags = readUint64(buf, at + 8)
  if (flags === Infinity)
    request.error ??= new NBDError('request', `${describe(command)}: a status with more than 53 bits`, {
      errno: constants.errno.EOVERFLOW
    })
  return addExtent(command, extents, length, flags, covered)
}

function addExtent(
  command: Command,
  extents: number[],
  length: number,
  flags: number,
  covered: number
): number {
  // Who goes on behind it would not get anywhere.
  if (length === 0) throw protocolError(`an extent without length for ${describe(command)}`)
  if (covered < command.length) extents.push(length, flags)
  return length
}
