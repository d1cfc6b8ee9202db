/**
 * An export, as the IOThreads that serve it see it.
 *
 * @see NBDExport in QEMU's nbd/server.c
 */
import {
  NBD_CMD_FLAG_FUA,
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
import type { BlockLimits, BlockNode, NodeHandle } from '../../shared/block/block-node.ts'
import { ExportGate } from './export-gate.ts'

/** What an IOThread must know to tell of an export, and to serve it: postable. */
export interface ExportDescription {
  name: string
  /** Empty when there is none. */
  description: string
  /** Several connections at a time are allowed. */
  shared: boolean
  size: number
  readOnly: boolean
  /** Each write is answered when it is on stable storage. */
  writethrough: boolean
  limits: BlockLimits
  node: NodeHandle
  /** What must be imported to attach the node. */
  drivers: string[]
  /** Of its ExportGate, and which lane of it is the thread's. */
  gate: SharedArrayBuffer
  lane: number
  /** This thread is one of those that serve it; the others hand their clients over. */
  servedHere: boolean
}

export class NBDExport {
  readonly name: string
  readonly description: string
  readonly size: number
  readonly readOnly: boolean
  readonly blockSizes: BlockSizes
  readonly servedHere: boolean
  /** Requests in flight are inside. */
  readonly gate: ExportGate
  readonly #writethrough: boolean
  readonly #shared: boolean
  readonly #handle: NodeHandle
  #node: BlockNode | undefined

  /** @context an IOThread */
  constructor(exported: ExportDescription) {
    const { name, description, shared, size, readOnly, writethrough } = exported
    const { limits, node, gate, lane, servedHere } = exported
    this.name = name
    this.description = description
    this.gate = new ExportGate(gate, lane)
    this.size = size
    this.readOnly = readOnly
    this.servedHere = servedHere
    this.#writethrough = writethrough
    this.#shared = shared
    this.#handle = node
    const { requestAlignment, optimalTransfer } = limits
    this.blockSizes = {
      minimum: requestAlignment,
      preferred: Math.max(optimalTransfer, requestAlignment, 512),
      maximum: NBD_MAX_BUFFER_SIZE
    }
  }

  /** The node, attached when it is first needed: a thread that only negotiates runs none of its driver's code. */
  get node(): BlockNode {
    return (this.#node ??= attachNode(this.#handle))
  }

  /**
   * Whether a write or a zeroing is answered when it is on stable storage.
   *
   * @param flags of the command
   * @see blk_set_enable_write_cache
   */
  isDurable(flags: number): boolean {
    return this.#writethrough || (flags & NBD_CMD_FLAG_FUA) !== 0
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
