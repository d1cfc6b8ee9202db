/**
 * An export, as the IOThreads that serve it see it.
 *
 * @see NBDExport in QEMU's nbd/server.c
 */
import {
  NBD_FLAG_CAN_MULTI_CONN,
  NBD_FLAG_HAS_FLAGS,
  NBD_FLAG_READ_ONLY,
  NBD_FLAG_SEND_CACHE,
  NBD_FLAG_SEND_DF,
  NBD_FLAG_SEND_FAST_ZERO,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_FUA,
  NBD_FLAG_SEND_TRIM,
  NBD_FLAG_SEND_WRITE_ZEROES
} from '../../shared/protocol/constants.ts'
import { NBD_MAX_BUFFER_SIZE } from '../../shared/protocol/limits.ts'
import type { BlockSizes } from '../../shared/protocol/messages/export-info.ts'
import '../../shared/block/drivers/index.ts'
import { attachNode } from '../../shared/block/driver-registry.ts'
import type { BlockNode, NodeHandle } from '../../shared/block/block-node.ts'
import { ExportGate } from './export-gate.ts'

/** What an IOThread needs to serve an export: postable. */
export interface ExportDescription {
  name: string
  /** Empty when there is none. */
  description: string
  /** Several connections at a time are allowed. */
  shared: boolean
  node: NodeHandle
  /** Of its ExportGate. */
  gate: SharedArrayBuffer
}

export class NBDExport {
  readonly name: string
  readonly description: string
  readonly node: BlockNode
  readonly blockSizes: BlockSizes
  /** Requests in flight are inside. */
  readonly gate: ExportGate
  readonly #shared: boolean

  /** @context the IOThread that is to serve it */
  constructor({ name, description, shared, node, gate }: ExportDescription) {
    this.name = name
    this.description = description
    this.node = attachNode(node)
    this.gate = new ExportGate(gate)
    this.#shared = shared
    const { requestAlignment, optimalTransfer } = this.node.limits
    this.blockSizes = {
      minimum: requestAlignment,
      preferred: Math.max(optimalTransfer, requestAlignment, 512),
      maximum: NBD_MAX_BUFFER_SIZE
    }
  }

  get size(): number {
    return this.node.length
  }

  get readOnly(): boolean {
    return this.node.readOnly
  }

  /** Transmission flags: what a client of this export may ask for. */
  flags(structured: boolean): number {
    let flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_CACHE
    if (this.readOnly) flags |= NBD_FLAG_READ_ONLY
    else flags |= NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_SEND_FAST_ZERO
    if (structured) flags |= NBD_FLAG_SEND_DF
    // Every thread writes through the one page cache, and a flush covers the whole file, whoever wrote.
    if (this.#shared) flags |= NBD_FLAG_CAN_MULTI_CONN
    return flags
  }
}
