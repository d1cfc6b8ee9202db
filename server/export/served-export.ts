/**
 * An export of a server as a whole: its node, the threads that serve it, and how it is drained.
 *
 * @context main
 * @see BlockExport in QEMU's include/block/export.h
 */
import type { BlockNode } from '../../shared/block/block-node.ts'
import { driverModules } from '../../shared/block/driver-registry.ts'
import { configError } from '../../shared/errors/nbd-error.ts'
import type { ServingThread } from '../connection/serving-thread.ts'
import { ExportGate } from './export-gate.ts'
import type { ExportDescription } from './nbd-export.ts'

export interface ServedExportOptions extends Pick<
  ExportDescription,
  'name' | 'description' | 'shared' | 'readOnly' | 'writethrough'
> {
  /** The node belongs to somebody else, who closes it. */
  keepNode: boolean
}

export class ServedExport {
  readonly node: BlockNode
  readonly keepNode: boolean
  /** But for what differs from thread to thread. */
  readonly description: Omit<ExportDescription, 'servedHere' | 'lane'>
  /** Those whose thread has died are taken out. */
  readonly threads = new Set<ServingThread>()
  readonly #gate: ExportGate
  /** How often it was drained and not resumed. */
  #drains = 0
  #lost: string | undefined

  constructor(
    node: BlockNode,
    { name, description, shared, readOnly, writethrough, keepNode }: ServedExportOptions
  ) {
    const { length: size, limits } = node
    const gate = ExportGate.allocate()
    this.node = node
    this.keepNode = keepNode
    const drivers = driverModules()
    this.description = {
      name,
      description,
      shared,
      size,
      readOnly,
      writethrough,
      limits,
      node: node.handle(),
      drivers,
      gate
    }
    this.#gate = new ExportGate(gate)
  }

  get name(): string {
    return this.description.name
  }

  /** Why it is served no more, in words; undefined while it is. */
  get lost(): string | undefined {
    return this.#lost
  }

  /**
   * Lets no request begin, and resolves when none is in flight, in whatever thread. Must be followed by `resume` as often.
   *
   * @see bdrv_drained_begin
   */
  async drain(): Promise<void> {
    this.#drains++
    await this.#gate.close()
  }

  /** @throws NBDError of kind `config` when it is not drained @see bdrv_drained_end */
  resume(): void {
    if (this.#drains === 0) throw configError(`export '${this.name}' is not drained`)
    this.#drains--
    this.#gate.open()
  }

  /** Takes all drains back. */
  resumeAll(): void {
    while (this.#drains > 0) this.resume()
  }

  /**
   * Goes on without a thread that has died.
   *
   * @returns whether that was the last of its threads
   */
  lose(thread: ServingThread): boolean {
    this.#gate.strikeOut(thread.lane)
    if (!this.threads.delete(thread) || this.threads.size > 0) return false
    this.#lost = `export '${this.name}' is not served any more: IOThread ${thread.id} died`
    return true
  }
}
