/**
 * Options as users write them: `key=value,key=value`, or JSON when the text begins with `{`.
 *
 * A comma in a value is doubled. `a.b=1` is a member of an object, `a.0=x,a.1=y` are the members of a list. The first
 * key may be left out where the option has an implied one. Unlike QEMU's parser, this one refuses a key that is given
 * twice: one of the two is a mistake.
 *
 * @see keyval_parse in QEMU's util/keyval.c
 */
import { configError } from '../errors/nbd-error.ts'

/** Characters of one option's text. */
export const MAX_OPTION_TEXT = 64 * 1024
/** Characters of a key between two dots. */
export const MAX_KEY_FRAGMENT = 127
/** Objects and lists within each other. */
export const MAX_OPTION_DEPTH = 16

/** What a text was parsed to; in `key=value` form every leaf is a string. */
export type OptionValue = string | number | boolean | null | OptionValue[] | OptionObject
export interface OptionObject {
  [key: string]: OptionValue
}

const NAME = /^[A-Za-z][A-Za-z0-9_-]*$/
const INDEX = /^\d+$/

/**
 * Parses the text of an option.
 *
 * @param what names the option, for messages: `--object`
 * @param impliedKey key of a first value that has none
 * @throws NBDError of kind `config`
 */
export function parseOptionText(text: string, what: string, impliedKey?: string): OptionObject {
  if (text.length > MAX_OPTION_TEXT) {
    throw configError(`${what}: ${text.length} characters are more than ${MAX_OPTION_TEXT}`)
  }
  return text.startsWith('{') ? parseJson(text, what) : new KeyValueParser(text, what).parse(impliedKey)
}

export const isOptionObject = (value: OptionValue): value is OptionObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

class KeyValueParser {
  readonly #text: string
  readonly #what: string
  /** Objects that stand where the keys may yet say that a list is meant. */
  readonly #root: OptionObject = {}
  #at = 0

  constructor(text: string, what: string) {
    this.#text = text
    this.#what = what
  }

  parse(impliedKey: string | undefined): OptionObject {
    while (this.#at < this.#text.length) {
      const key = this.#key(this.#at === 0 ? impliedKey : undefined)
      this.#put(key, this.#value())
    }
    const result = this.#listified(this.#root, '')
    if (Array.isArray(result)) throw this.#error(`a key is missing before '.0'`)
    return result
  }

  /** Takes a key and its '='; of an implied one there is nothing to take. */
  #key(impliedKey: string | undefined): string {
    const rest = this.#text.slice(this.#at)
    const key = /^[^=,]*/.exec(rest)![0]
    if (rest[key.length] === '=') {
      this.#at += key.length + 1
      return key
    }
    if (key === '') throw this.#error(`there is a ',' where a key was expected`)
    if (impliedKey === undefined) throw this.#error(`'=' was expected after '${key}'`)
    return impliedKey
  }

  /** Takes a value and the comma behind it. */
  #value(): string {
    const raw = /^(?:[^,]|,,)*/.exec(this.#text.slice(this.#at))![0]
    this.#at += raw.length + 1
    return raw.replaceAll(',,', ',')
  }

  #put(key: string, value: string): void {
    const fragments = key.split('.')
    if (fragments.length > MAX_OPTION_DEPTH)
      throw this.#error(`'${key}' has more than ${MAX_OPTION_DEPTH} parts`)
    fragments.forEach((fragment, i) => this.#checkFragment(key, fragment, i === 0))
    const last = fragments.pop()!
    let object = this.#root
    for (const fragment of fragments) {
      const inner = Object.hasOwn(object, fragment) ? object[fragment]! : (object[fragment] = {})
      if (!isOptionObject(inner)) throw this.#error(`'${key}': a part of it has a value already`)
      object = inner
    }
    if (Object.hasOwn(object, last)) throw this.#error(`'${key}' is given twice`)
    object[last] = value
  }

  #checkFragment(key: string, fragment: string, first: boolean): void {
    if (fragment === '')
      throw this.#error(key === '' ? 'a key is empty' : `a part of the key '${key}' is empty`)
    if (fragment.length > MAX_KEY_FRAGMENT) {
      throw this.#error(`a key of ${fragment.length} characters is longer than ${MAX_KEY_FRAGMENT}`)
    }
    if (!NAME.test(fragment) && (first || !INDEX.test(fragment))) {
      throw this.#error(`'${key}' is not a key: letters, digits, '-' and '_'`)
    }
  }

  /** Objects whose keys are all numbers are lists. @see keyval_listify */
  #listified(object: OptionObject, path: string): OptionObject | OptionValue[] {
    const entries = Object.entries(object).map(([key, value]): [string, OptionValue] => [
      key,
      isOptionObject(value) ? this.#listified(value, path === '' ? key : `${path}.${key}`) : value
    ])
    const indices = entries.filter(([key]) => INDEX.test(key))
    if (indices.length === 0) return Object.fromEntries(entries)
    if (indices.length < entries.length) throw this.#error(`'${path}' is both a list and an object`)
    const list: OptionValue[] = []
    const byIndex = new Map(indices.map(([key, value]) => [Number(key), value]))
    for (let i = 0; i < entries.length; i++) {
      const value = byIndex.get(i)
      if (value === undefined) throw this.#error(`'${path}.${i}' is missing`)
      list.push(value)
    }
    return list
  }

  #error(message: string): Error {
    return configError(`${this.#what}: ${message}`)
  }
}

function parseJson(text: string, what: string): OptionObject {
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch (error) {
    throw configError(`${what}: this is not JSON: ${(error as Error).message}`, error)
  }
  checkJsonKeys(text, what)
  return parsed as OptionObject
}

/** What JSON.parse lets pass: keys that are empty or there twice, and any depth. @param text that JSON.parse took */
function checkJsonKeys(text: string, what: string): void {
  const open: Set<string>[] = []
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"(?:\s*:)?|[{}[\]]/g)) {
    if (token === '{' || token === '[') {
      open.push(new Set())
      if (open.length > MAX_OPTION_DEPTH) throw configError(`${what}: more than ${MAX_OPTION_DEPTH} levels`)
    } else if (token === '}' || token === ']') {
      open.pop()
    } else if (token.endsWith(':')) {
      const key = JSON.parse(token.slice(0, -1)) as string
      if (key === '') throw configError(`${what}: a key is empty`)
      if (open.at(-1)!.has(key)) throw configError(`${what}: '${key}' is given twice`)
      open.at(-1)!.add(key)
    }
  }
}
