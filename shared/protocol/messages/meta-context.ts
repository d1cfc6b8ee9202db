/**
 * Payload of NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT, and of the reply NBD_REP_META_CONTEXT.
 *
 *   offset  size  field                          reply:  offset  size  field
 *   0       4     length of the name                     0       4     context id
 *   4       n     name of the export                     4       ...   name of the context
 *   4+n     4     number of queries
 *   then, for each query: 4 length, query
 *
 * @see doc/proto.md "Metadata querying"
 */
import { NBD_MAX_META_QUERIES } from '../limits.ts'
import { decodeString } from '../string.ts'

export interface MetaContextQuery {
  name: string
  queries: string[]
}

/**
 * @returns the query, or a sentence that says why the payload is malformed; `tooBig` when it is well-formed
 *   but asks for more than the server is willing to look at
 */
export function decodeMetaContextQuery(
  payload: Buffer
): MetaContextQuery | { problem: string; tooBig?: true } {
  let at = 0
  const text = (what: string): string | { problem: string } => {
    if (payload.length - at < 4) return { problem: `payload ends before the length of ${what}` }
    const length = payload.readUInt32BE(at)
    at += 4
    if (length > payload.length - at)
      return { problem: `length ${length} of ${what} does not fit the payload` }
    const string = decodeString(payload.subarray(at, at + length))
    at += length
    return typeof string === 'string' ? string : { problem: `${what} ${string.problem}` }
  }

  const name = text('the export name')
  if (typeof name !== 'string') return name
  if (payload.length - at < 4) return { problem: 'payload ends before the number of queries' }
  const count = payload.readUInt32BE(at)
  at += 4
  if (count > (payload.length - at) / 4) return { problem: `${count} queries do not fit the payload` }
  if (count > NBD_MAX_META_QUERIES) {
    return { problem: `${count} queries are more than ${NBD_MAX_META_QUERIES}`, tooBig: true }
  }
  const queries: string[] = []
  for (let i = 0; i < count; i++) {
    const query = text(`query ${i + 1}`)
    if (typeof query !== 'string') return query
    queries.push(query)
  }
  if (at !== payload.length) return { problem: `${payload.length - at} bytes follow the last query` }
  return { name, queries }
}

/** @returns a new buffer, the caller's */
export function encodeMetaContextQuery(name: string, queries: readonly string[]): Buffer {
  const part = (string: string): Buffer[] => {
    const bytes = Buffer.from(string, 'utf8')
    const length = Buffer.alloc(4)
    length.writeUInt32BE(bytes.length)
    return [length, bytes]
  }
  const count = Buffer.alloc(4)
  count.writeUInt32BE(queries.length)
  return Buffer.concat([...part(name), count, ...queries.flatMap(part)])
}

/** @returns a new buffer, the caller's */
export function encodeMetaContextReply(id: number, context: string): Buffer {
  const bytes = Buffer.from(context, 'utf8')
  const buf = Buffer.alloc(4 + bytes.length)
  buf.writeUInt32BE(id, 0)
  buf.set(bytes, 4)
  return buf
}
