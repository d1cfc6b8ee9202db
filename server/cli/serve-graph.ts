/**
 * What `--object`, `--blockdev` and `--export` ask for, in the order in which they were given: each may name what
 * earlier ones have made.
 *
 * @context main
 * @see QEMU storage-daemon/qemu-storage-daemon.c
 */
import '../../shared/block/drivers/index.ts'
import type { BlockNode } from '../../shared/block/block-node.ts'
import { NodeTable } from '../../shared/block/node-table.ts'
import { id } from '../../shared/config/id.ts'
import { parseOptionText, type OptionObject } from '../../shared/config/key-value.ts'
import {
  boolean,
  checkOptions,
  oneOf,
  oneOrList,
  required,
  string,
  text,
  type OptionMembers
} from '../../shared/config/option-schema.ts'
import { configError } from '../../shared/errors/nbd-error.ts'
import { findIOThread, ObjectTable } from '../../shared/object/index.ts'
import type { ExportOptions } from '../nbd-server.ts'
import type { GraphStep } from './graph-steps.ts'

/** @see BlockExportOptions in QEMU's qapi/block-export.json */
const exportMembers = {
  type: required(oneOf('nbd')),
  id: required(id),
  'node-name': required(string),
  name: text,
  description: text,
  writable: boolean,
  writethrough: boolean,
  iothread: oneOrList(string)
} satisfies OptionMembers

export interface GraphExport {
  node: BlockNode
  nodeName: string
  options: ExportOptions & { name: string }
}

export class Graph {
  readonly objects = new ObjectTable()
  readonly #nodes = new NodeTable((id, what) => this.objects.find(id, what))
  readonly #exportIds = new Set<string>()
  /** In the order in which they were given; nothing serves them yet. */
  readonly exports: GraphExport[] = []

  /**
   * @param withImage something else is served than nodes
   * @throws NBDError of kind `config`; nothing is left open then
   */
  static async build(steps: GraphStep[], withImage = false): Promise<Graph> {
    const graph = new Graph()
    try {
      for (const step of steps) await graph.#take(step)
      if (!withImage && graph.exports.length === 0)
        throw configError('there is nothing to serve: no --export is given')
      return graph
    } catch (error) {
      await graph.close()
      throw error
    }
  }

  /** Opens a node that is exported under no name of its own. @throws NBDError of kind `config` */
  open(options: OptionObject, what: string): Promise<BlockNode> {
    return this.#nodes.open(options, what)
  }

  /** Closes nodes, and ends threads; when nothing serves them any more. */
  async close(): Promise<void> {
    await this.#nodes.close()
    await this.objects.close()
  }

  async #take({ option, value }: GraphStep): Promise<void> {
    switch (option) {
      case 'object':
        await this.objects.add(parseOptionText(value, '--object', 'qom-type'))
        break
      case 'blockdev':
        await this.#nodes.add(parseOptionText(value, '--blockdev', 'driver'))
        break
      case 'export':
        this.#addExport(parseOptionText(value, '--export', 'type'))
    }
  }

  #addExport(given: OptionObject): void {
    const checked = checkOptions(exportMembers, given, '--export')
    const { id, 'node-name': nodeName, name = nodeName, description, iothread } = checked
    const { writable = false, writethrough } = checked
    if (this.#exportIds.has(id)) throw configError(`--export: the id '${id}' is taken`)
    const node = this.#nodes.find(nodeName, '--export: node-name')
    if (writable && node.readOnly)
      throw configError(`--export: writable=on, but node '${nodeName}' is read-only`)
    const iothreads = iothread?.map((one) => findIOThread(this.objects, one, '--export: iothread'))
    if (new Set(iothreads).size !== (iothreads?.length ?? 0)) {
      throw configError(`--export: iothread: the same thread is named twice`)
    }
    this.#exportIds.add(id)
    const options = { name, description, writable, writethrough, iothreads, keepNode: true }
    this.exports.push({ node, nodeName, options })
  }
}
