/**
 * The drivers by name. A driver registers itself; the same call is how a user of the library adds one.
 *
 * @see bdrv_register
 */
import type { OptionMembers } from '../config/option-schema.ts'
import { bugError, configError } from '../errors/nbd-error.ts'
import type { BlockNode, NodeHandle } from './block-node.ts'

/** Options of a node, by QEMU's names. Each driver checks its own. */
export interface NodeOptions {
  driver: string
  'read-only'?: boolean
}

/** A node below another: how to open it, or an open node, which stays its owner's to close. */
export type ChildNode = NodeOptions | BlockNode

export const isOpenNode = (child: ChildNode): child is BlockNode => 'handle' in child

export interface BlockDriver<O extends NodeOptions = NodeOptions, H extends NodeHandle = NodeHandle> {
  readonly name: string
  /** The driver's own options, for users to name. A driver without them can be used by programs only. */
  readonly options?: OptionMembers
  /** Names of the options that are nodes below, each a ChildNode. */
  readonly children?: readonly string[]
  /**
   * Opens a node.
   *
   * @context main
   * @throws NBDError of kind `config` that says in one line what is wrong; nothing is left open then
   */
  open(options: O): Promise<BlockNode>
  /**
   * A view of an open node, for another thread (or the same one).
   *
   * @context any-thread
   */
  attach(handle: H): BlockNode
}

const drivers = new Map<string, BlockDriver>()

export function registerDriver<O extends NodeOptions, H extends NodeHandle>(driver: BlockDriver<O, H>): void {
  if (drivers.has(driver.name)) throw bugError(`block driver '${driver.name}' is registered twice`)
  drivers.set(driver.name, driver)
}

/** @throws NBDError of kind `config` when there is none */
export function findDriver(name: string): BlockDriver {
  const driver = drivers.get(name)
  if (!driver) {
    throw configError(`there is no block driver '${name}'; known: ${[...drivers.keys()].sort().join(', ')}`)
  }
  return driver
}

/**
 * Opens a node and, through its driver, the nodes below it.
 *
 * @context main
 * @throws NBDError of kind `config`
 */
export async function openNode<O extends NodeOptions>(options: O): Promise<BlockNode> {
  return findDriver(options.driver).open(options)
}

/**
 * The view of an open node in this thread.
 *
 * @context any-thread
 */
export function attachNode(handle: NodeHandle): BlockNode {
  const driver = drivers.get(handle.driver)
  if (!driver) throw bugError(`block driver '${handle.driver}' is not registered in this thread`)
  return driver.attach(handle)
}
