/** Names that users give to objects, nodes and exports. */
import { wrongValue, type Option } from './option-schema.ts'

/** Characters of an id. */
export const MAX_ID = 127

const ID = /^[A-Za-z][A-Za-z0-9._-]*$/

/** An id begins with a letter; letters, digits, '-', '.' and '_' follow. @see id_wellformed */
export const id: Option<string> = {
  check(value, path) {
    if (typeof value === 'string' && value.length <= MAX_ID && ID.test(value)) return value
    throw wrongValue(
      path,
      value,
      `an id: a letter, then letters, digits, '-', '.' and '_', ${MAX_ID} at the most`
    )
  }
}
