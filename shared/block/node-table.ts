/**
 * The nodes that a user has opened, by their names; it owns them all.
 *
 * @context main
 * @see qmp_blockdev_add in QEMU's blockdev.c
 */
import { id } from '../config/id.ts'
import { isOptionObject, type OptionObject, type OptionValue } from '../config/key-value.ts'
import {
  boolean,
  checkOptions,
  memberPath,
  oneOf,
  required,
  string,
  wrongValue
} from '../config/option-schema.ts'

import { configError, NBDError } from '../errors/nbd-error.ts'
import type { BlockNode } from './block-node.ts'
import { findDriver, openNode, type BlockDriver } from './driver-registry.ts'
import { DETECT_ZEROES_MODES, DISCARD_MODES, discardMode } from './drivers/unmap-policy/driver.ts'

/** Options that every driver takes. */
const common = {
  'node-name': id,
  'read-only': boolean,
  discard: oneOf(...DISCARD_MODES, 'off', 'on'),
  'detect-zeroes': oneOf(...DETECT_ZEROES_MODES)
}

interface Opened {
  node: BlockNode
  name: string | undefined
}

/** What a user has made by `--object`. @throws NBDError of kind `config` when nothing has the id */
type FindObject = (id: string, what: string) => unknown

export class NodeTable {
  readonly #findObject: FindObject
  /** In the order of opening: a node comes behind those below it. */
  readonly #opened: Opened[] = []

  /** @param findObject for options that are ids of objects */
  constructor(
    findObject: FindObject = (id, what) => {
      throw configError(`${what}: there is no object '${id}'`)
    }
  ) {
    this.#findObject = findObject
  }

  /**
   * Opens a node, and those below it that are not named but described.
   *
   * @param options `driver`, `node-name`, `read-only`, `discard`, `detect-zeroes`, and the driver's own; a node below is `file=NAME` or
   *   `file.driver=...`, and then read-only when this one is
   * @param what names the option, for messages
   * @throws NBDError of kind `config`; nothing is left open then
   */
  async add(options: OptionObject, what = '--blockdev'): Promise<BlockNode> {
    if (options['node-name'] === undefined) throw configError(`${what}: 'node-name' is missing`)
    return this.open(options, what)
  }

  /** As `add`; `node-name` may be missing. */
  async open(options: OptionObject, what: string): Promise<BlockNode> {
    const before = this.#opened.length
    try {
      return await this.#open(options, what, false)
    } catch (error) {
      await this.#close(before)
      throw error
    }
  }

  /** @throws NBDError of kind `config` when there is none */
  find(name: string, what: string): BlockNode {
    const opened = this.#opened.find((one) => one.name === name)
    if (!opened) throw configError(`${what}: there is no node '${name}'`)
    return opened.node
  }

  /** Closes all nodes, each before those below it. */
  close(): Promise<void> {
    return this.#close(0)
  }

  async #open(options: OptionObject, path: string, inheritedReadOnly: boolean): Promise<BlockNode> {
    const { driver: driverName, ...rest } = options
    if (driverName === undefined) throw configError(`${path}: 'driver' is missing`)
    const driver = this.#driver(driverName, memberPath(path, 'driver'))
    const children = driver.children ?? []
    const members = {
      ...Object.fromEntries(children.map((child) => [child, required(nodeOption)])),
      ...driver.options,
      ...common
    }
    const checked = checkOptions(members, rest, path)
    const { 'node-name': name, 'read-only': given, discard, 'detect-zeroes': detect, ...own } = checked
    if (name !== undefined && this.#opened.some((opened) => opened.name === name)) {
      throw configError(`${path}: the node name '${name}' is taken`)
    }
    const readOnly = given ?? inheritedReadOnly
    const below: [string, BlockNode][] = []
    for (const child of children) {
      below.push([child, await this.#child(rest[child]!, memberPath(path, child), readOnly)])
    }
    const objects: [string, unknown][] = []
    for (const [key, id] of Object.entries(own))
      if (driver.objects?.includes(key))
        objects.push([key, this.#findObject(id as string, memberPath(path, key))])
    const open = {
      ...own,
      ...Object.fromEntries(below),
      ...Object.fromEntries(objects),
      driver: driver.name,
      'read-only': readOnly,
      discard: discard && discardMode(discard),
      'detect-zeroes': detect
    }
    const node = await openNode(open).catch((error: unknown) => {
      throw prefixed(path, error)
    })
    this.#opened.push({ node, name })
    return node
  }

  #driver(value: OptionValue, path: string): BlockDriver {
    const name = string.check(value, path)
    try {
      const driver = findDriver(name)
      if (!driver.options) throw configError(`'${name}' cannot be named by users`)
      return driver
    } catch (error) {
      throw prefixed(path, error)
    }
  }

  async #child(value: OptionValue, path: string, readOnly: boolean): Promise<BlockNode> {
    return isOptionObject(value) ? this.#open(value, path, readOnly) : this.find(value as string, path)
  }

  async #close(from: number): Promise<void> {
    for (const { node } of this.#opened.splice(from).reverse()) await node.close()
  }
}

/** A node: its name, or how to open it. */
const nodeOption = {
  check(value: OptionValue, path: string): OptionValue {
    if (isOptionObject(value)) return value
    if (typeof value === 'string' && value !== '') return value
    throw wrongValue(path, value, 'the name of a node, or an object with its options')
  }
}

/** Drivers do not know by which option they were named. */
const prefixed = (path: string, error: unknown): unknown =>
  NBDError.is(error) && error.kind === 'config' ? configError(`${path}: ${error.message}`, error) : error
