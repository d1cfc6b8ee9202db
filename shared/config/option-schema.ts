/**
 * What options may be: checks what `parseOptionText` gave, and says in one line what is wrong with it.
 *
 * Strings are taken for what is expected of them, since `key=value` knows nothing else; JSON may give numbers, booleans,
 * lists and objects as such.
 */
import { configError } from '../errors/nbd-error.ts'
import { parseInteger } from './integer.ts'
import { isOptionObject, type OptionObject, type OptionValue } from './key-value.ts'
import { parseSize } from './size.ts'

/** A kind of value. */
export interface Option<T> {
  /**
   * @param path of the value, for messages: `--object: poll-max-ns`
   * @throws NBDError of kind `config`
   */
  check(value: OptionValue, path: string): T
}

/** As `Option`, for a member of an object that must be there. */
export interface RequiredOption<T> extends Option<T> {
  readonly required: true
}

/** Members of an object, by their keys. */
export type OptionMembers = Record<string, Option<unknown> | RequiredOption<unknown>>

/** What `checkOptions` makes of an object. */
export type Checked<M extends OptionMembers> = {
  [K in keyof M as M[K] extends RequiredOption<unknown> ? K : never]: TypeOf<M[K]>
} & {
  [K in keyof M as M[K] extends RequiredOption<unknown> ? never : K]?: TypeOf<M[K]>
}
type TypeOf<O> = O extends Option<infer T> ? T : never

/** The member must be there. */
export const required = <T>(option: Option<T>): RequiredOption<T> => ({ ...option, required: true })

/** Any text that is not empty. */
export const string: Option<string> = {
  check(value, path) {
    if (typeof value !== 'string' || value === '') throw wrongValue(path, value, 'a text that is not empty')
    return value
  }
}

/** Any text, also an empty one. */
export const text: Option<string> = {
  check(value, path) {
    if (typeof value !== 'string') throw wrongValue(path, value, 'a text')
    return value
  }
}

/** `on` or `off`; in JSON, true or false. */
export const boolean: Option<boolean> = {
  check(value, path) {
    if (value === true || value === 'on') return true
    if (value === false || value === 'off') return false
    throw wrongValue(path, value, "'on' or 'off'")
  }
}

/** A whole number within bounds. */
export const integer = (min: number, max: number): Option<number> => ({
  check(value, path) {
    if (typeof value !== 'string' && typeof value !== 'number') {
      throw wrongValue(path, value, `a number from ${min} to ${max}`)
    }
    return parseInteger(String(value), path, min, max)
  }
})

/** Bytes: a number, with or without a suffix. */
export const size: Option<number> = {
  check(value, path) {
    if (typeof value !== 'string' && typeof value !== 'number') {
      throw wrongValue(path, value, 'a size, such as 512, 64K, 10M or 1.5G')
    }
    return parseSize(String(value), path)
  }
}

/** One of some words. */
export const oneOf = <const W extends string>(...words: W[]): Option<W> => ({
  check(value, path) {
    const found = words.find((word) => word === value)
    if (found === undefined) throw wrongValue(path, value, words.map((word) => `'${word}'`).join(' or '))
    return found
  }
})

/** A list of values of one kind, with at least one. */
export const list = <T>(item: Option<T>): Option<T[]> => ({
  check(value, path) {
    if (!Array.isArray(value) || value.length === 0) throw wrongValue(path, value, `a list: ${path}.0=...`)
    return value.map((one, i) => item.check(one, `${path}.${i}`))
  }
})

/** One value, or a list of them. */
export const oneOrList = <T>(item: Option<T>): Option<T[]> => ({
  check: (value, path) => (Array.isArray(value) ? list(item).check(value, path) : [item.check(value, path)])
})

/** An object with members of its own. */
export const object = <M extends OptionMembers>(members: M): Option<Checked<M>> => ({
  check: (value, path) => checkOptions(members, asObject(value, path), path)
})

/** An object whose members somebody else will check. */
export const anyObject: Option<OptionObject> = { check: asObject }

/**
 * Checks the members of an object.
 *
 * @param path of the object, for messages
 * @throws NBDError of kind `config` for a member that is unknown, missing or wrong
 */
export function checkOptions<M extends OptionMembers>(
  members: M,
  given: OptionObject,
  path: string
): Checked<M> {
  for (const key of Object.keys(given)) {
    if (!Object.hasOwn(members, key)) throw configError(`${path}: ${unknownKey(key, Object.keys(members))}`)
  }
  const result: [string, unknown][] = []
  for (const [key, option] of Object.entries(members)) {
    if (Object.hasOwn(given, key)) result.push([key, option.check(given[key]!, memberPath(path, key))])
    else if ('required' in option) throw configError(`${path}: '${key}' is missing`)
  }
  return Object.fromEntries(result) as Checked<M>
}

/** `--blockdev: file.driver`: behind the option's name, keys are joined by dots. */
export const memberPath = (path: string, key: string): string =>
  path.includes(': ') ? `${path}.${key}` : `${path}: ${key}`

/** A sentence about a word that is none of `known`. */
export function unknownKey(word: string, known: string[]): string {
  const near = known.filter((one) => distance(word, one) <= 2)
  const hint = near.length > 0 ? `did you mean '${near[0]}'?` : `known: ${known.join(', ')}`
  return `'${word}' is unknown; ${hint}`
}

function asObject(value: OptionValue, path: string): OptionObject {
  if (!isOptionObject(value)) throw wrongValue(path, value, 'an object with members of its own')
  return value
}

/** `path: 'value' is not right`. */
export function wrongValue(path: string, value: OptionValue, right: string): Error {
  const given = typeof value === 'string' ? `'${value}'` : JSON.stringify(value)
  return configError(`${path}: ${given} is not ${right}`)
}

/** Insertions, deletions and changes of a letter between two words. @see Levenshtein distance */
function distance(one: string, other: string): number {
  if (Math.abs(one.length - other.length) > 2) return Infinity
  let row = Array.from({ length: other.length + 1 }, (_, i) => i)
  for (let i = 1; i <= one.length; i++) {
    const next = [i]
    for (let j = 1; j <= other.length; j++) {
      const changed = row[j - 1]! + (one[i - 1] === other[j - 1] ? 0 : 1)
      next.push(Math.min(changed, row[j]! + 1, next[j - 1]! + 1))
    }
    row = next
  }
  return row[other.length]!
}
