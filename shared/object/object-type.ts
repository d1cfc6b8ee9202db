/**
 * Types of objects that a user can make by `--object`. A type registers itself.
 *
 * @see user_creatable_add_type in QEMU's qom/object_interfaces.c
 */
import type { OptionMembers } from '../config/option-schema.ts'
import { unknownKey } from '../config/option-schema.ts'
import { bugError, configError } from '../errors/nbd-error.ts'

/** An object while it lives. Which properties there are, and who may set them, its type says. */
export interface UserObject {
  readonly type: string
  readonly id: string
  get(property: string): unknown
  /** @param value checked already, by the type's options */
  set(property: string, value: unknown): Promise<void>
  close(): Promise<void>
}

export interface ObjectType {
  readonly name: string
  /** What it is made of, besides its id. */
  readonly options: OptionMembers
  /** Those of `options` that can be changed while it lives; the others, and `readable`, can only be read. */
  readonly settable: readonly string[]
  /** What else can be read of it. */
  readonly readable: readonly string[]
  /**
   * @context main
   * @param options checked already
   * @throws NBDError of kind `config`
   */
  create(id: string, options: Record<string, unknown>): Promise<UserObject>
}

const types = new Map<string, ObjectType>()

export function registerObjectType(type: ObjectType): void {
  if (types.has(type.name)) throw bugError(`object type '${type.name}' is registered twice`)
  types.set(type.name, type)
}

/** @throws NBDError of kind `config` when there is none */
export function objectType(name: string, what: string): ObjectType {
  const type = types.get(name)
  if (!type) throw configError(`${what}: the object type ${unknownKey(name, [...types.keys()].sort())}`)
  return type
}
