/** Feeds a ReplyParser as the receive loop does, and keeps what comes of the requests. */
import { CookieTable } from '../../../../client/transmission/cookie-table.ts'
import { PendingRequest, type Command, type Status } from '../../../../client/transmission/pending-request.ts'
import { readTargets } from '../../../../client/transmission/read-target.ts'
import { ReplyParser } from '../../../../client/transmission/reply-parser.ts'
import { NBDError } from '../../../../shared/errors/nbd-error.ts'
import { NBD_MODE_STRUCTURED, type NBDMode } from '../../../../shared/protocol/nbd-mode.ts'
import { NBD_CMD_READ } from '../../../helpers/raw-constants.ts'

export interface Outcome {
  /**
   * Bytes that were read, or length and flags of extents, by context where there are several; undefined when it failed
   * or goes on.
   */
  result?: Buffer | readonly number[] | Record<string, readonly number[]>
  error?: NBDError
}

export interface Parsed {
  /** In the order of the requests, whose cookies are 1, 2, ... */
  outcomes: Outcome[]
  /** What the parser threw: the connection's end. */
  fatal?: NBDError
}

export interface Expected {
  type: number
  offset?: number
  length?: number
}

export interface ParserOptions {
  mode?: NBDMode
  /** Names by id. */
  contexts?: Record<number, string>
}

export const ALLOCATION_ID = 5

/** Lets all these requests be in flight, and then receives the pieces. */
export function parse(
  requests: Expected[],
  pieces: Buffer[],
  { mode = NBD_MODE_STRUCTURED, contexts = { [ALLOCATION_ID]: 'base:allocation' } }: ParserOptions = {}
): Parsed {
  const table = new CookieTable()
  const byId = new Map(Object.entries(contexts).map(([id, name]) => [Number(id), name]))
  const parser = new ReplyParser(table, mode, byId)
  const parsed: Parsed = { outcomes: requests.map(() => ({})) }
  requests.forEach(({ type, offset = 0, length = 0 }, i) => {
    // What was in the buffer before must not be taken for what was read.
    const buffer = Buffer.alloc(type === NBD_CMD_READ ? length : 0, 0xee)
    const target = readTargets([buffer])(0)
    const command: Command = { type, flags: 0, offset, length, ...(type === NBD_CMD_READ ? { target } : {}) }
    const outcome = parsed.outcomes[i]!
    const resolve = (status: Status): void => {
      if (type === NBD_CMD_READ) outcome.result = Buffer.from(buffer)
      else if (status.size > 1) outcome.result = Object.fromEntries(status)
      else outcome.result = [...status.values()][0] ?? []
    }
    table.add(new PendingRequest(command, resolve, (error) => (outcome.error = error as NBDError)))
  })
  try {
    feed(parser, pieces)
  } catch (error) {
    if (!NBDError.is(error)) throw error
    parsed.fatal = error
    table.abandonAll(error)
  }
  return parsed
}

function feed(parser: ReplyParser, pieces: Buffer[]): void {
  let rest = Buffer.alloc(0)
  for (const piece of pieces) {
    const bytes = Buffer.concat([rest, piece])
    rest = bytes.subarray(parser.consume(bytes, 0, bytes.length))
  }
}

/** An outcome in a form that can be compared. */
export const comparable = ({ outcomes, fatal }: Parsed): unknown => ({
  outcomes: outcomes.map(({ result, error }) => ({
    result: Buffer.isBuffer(result) ? result.toString('hex') : result,
    error: error && { kind: error.kind, errno: error.errno, message: error.message }
  })),
  fatal: fatal && { kind: fatal.kind, message: fatal.message }
})

/** All ways to cut bytes into two pieces, and all into single bytes. */
export function* cuts(bytes: Buffer): Generator<Buffer[]> {
  for (let at = 1; at < bytes.length; at++) yield [bytes.subarray(0, at), bytes.subarray(at)]
  yield Array.from(bytes, (_, i) => bytes.subarray(i, i + 1))
}
