/**
 * The drivers by name. A driver registers itself; the same call is how a user of the library adds one.
 *
 * @see bdrv_register
 */
import type { OptionMembers } from '../config/option-schema.ts'
import { bugError, configError } from '../errors/nbd-error.ts'
import type { BlockNode, NodeHandle } from './block-node.ts'
import { unmapPolicy, withUnmapPolicy, type UnmapOptions } from './drivers/unmap-policy/driver.ts'

/** Options of a node, by QEMU's names. Each driver checks its own. */
export interface NodeOptions extends UnmapOptions {
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
  /** Names of the options that are objects: a user gives their ids, and the driver gets what has that id. */
  readonly objects?: readonly string[]
  /**
   * URL of a module that registers the driver when it is imported, its own `import.meta.url` mostly: so every IOThread
   * that serves one of its nodes has it, too. Drivers that come with the block layer are everywhere.
   */
  readonly module?: string
  /** What images are called that the driver opens, as `nbd://...`, for `openImage`. @see bdrv_parse_filename */
  readonly filenames?: {
    matches(filename: string): boolean
    /** They are made by opening them: there is no format to be guessed. */
    readonly areNew?: boolean
    /** @throws NBDError of kind `config` */
    parse(filename: string): O
  }
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
/** Of which nodes were opened. */
const inUse = new Set<BlockDriver>()

export function registerDriver<O extends NodeOptions, H extends NodeHandle>(driver: BlockDriver<O, H>): void {
  if (drivers.has(driver.name)) throw bugError(`block driver '${driver.name}' is registered twice`)
  drivers.set(driver.name, driver)
}

/** @throws NBDError of kind `config` when there is none */
export function findDriver(name: string): BlockDriver {
  const driver = drivers.get(name)
  if (!driver) {
    const known = [...drivers.values()].filter(({ options }) => options).map(({ name }) => name)
    throw configError(`there is no block driver '${name}'; known: ${known.sort().join(', ')}`)
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
  const driver = findDriver(options.driver)
  const policy = unmapPolicy(options)
  inUse.add(driver)
  return withUnmapPolicy(await driver.open(options), policy)
}

/** The driver that images of such a name are opened by, whatever their format; undefined: it is a file. */
export const driverOfFilename = (filename: string): BlockDriver | undefined =>
  [...drivers.values()].find(({ filenames }) => filenames?.matches(filename))

/** What another thread must import to attach any node of this one. @context main */
export const driverModules = (): string[] => [...inUse].flatMap(({ module }) => module ?? [])

/** Lets this thread attach nodes of another. @param modules its `driverModules` */
export async function importDrivers(modules: readonly string[]): Promise<void> {
  for (const module of modules) await import(module)
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
