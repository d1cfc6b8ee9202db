/**
 * The objects that a user has made, by their ids.
 *
 * @context main
 * @see object_get_objects_root in QEMU
 */
import { id as idOption } from '../config/id.ts'
import type { OptionObject, OptionValue } from '../config/key-value.ts'
import { checkOptions, memberPath, required, string, unknownKey } from '../config/option-schema.ts'
import { configError } from '../errors/nbd-error.ts'
import { objectType, type UserObject } from './object-type.ts'

export class ObjectTable {
  readonly #objects = new Map<string, UserObject>()
  /** Ids of objects that are being made. */
  readonly #reserved = new Set<string>()

  /**
   * Makes an object.
   *
   * @param options `qom-type`, `id`, and the type's own
   * @param what names the option, for messages
   * @throws NBDError of kind `config`
   * @see user_creatable_add_qapi
   */
  async add(options: OptionObject, what = '--object'): Promise<UserObject> {
    const { 'qom-type': qomType, ...rest } = options
    if (qomType === undefined) throw configError(`${what}: 'qom-type' is missing`)
    const type = objectType(string.check(qomType, memberPath(what, 'qom-type')), what)
    const { id, ...own } = checkOptions({ id: required(idOption), ...type.options }, rest, what)
    if (this.#objects.has(id) || this.#reserved.has(id)) throw configError(`${what}: the id '${id}' is taken`)
    this.#reserved.add(id)
    try {
      const object = await type.create(id, own)
      this.#objects.set(id, object)
      return object
    } finally {
      this.#reserved.delete(id)
    }
  }

  /** In the order in which they were made. */
  list(): UserObject[] {
    return [...this.#objects.values()]
  }

  /** @throws NBDError of kind `config` when there is none */
  find(id: string, what: string): UserObject {
    const object = this.#objects.get(id)
    if (!object) throw configError(`${what}: there is no object '${id}'`)
    return object
  }

  /**
   * Reads a property.
   *
   * @throws NBDError of kind `config`
   * @see qmp_qom_get
   */
  get(id: string, property: string): unknown {
    const object = this.find(id, 'get')
    if (property === 'type') return object.type
    const { options, readable } = objectType(object.type, id)
    this.#check(id, property, [...Object.keys(options), ...readable])
    return object.get(property)
  }

  /**
   * Changes a property; resolves when that has taken effect.
   *
   * @throws NBDError of kind `config` when there is no such property, it can only be read, or the value cannot be
   * @see qmp_qom_set
   */
  async set(id: string, property: string, value: OptionValue): Promise<void> {
    const object = this.find(id, 'set')
    const { options, settable, readable } = objectType(object.type, id)
    this.#check(id, property, ['type', ...Object.keys(options), ...readable])
    if (!settable.includes(property)) throw configError(`${id}: '${property}' can only be read`)
    await object.set(property, options[property]!.check(value, memberPath(id, property)))
  }

  /** Ends all objects, the last one first. */
  async close(): Promise<void> {
    for (const object of this.list().reverse()) await object.close()
    this.#objects.clear()
  }

  #check(id: string, property: string, known: string[]): void {
    if (!known.includes(property)) throw configError(`${id}: the property ${unknownKey(property, known)}`)
  }
}
