import t from 'tap'
import { CookieTable } from '../../../../client/transmission/cookie-table.ts'
import { PendingRequest } from '../../../../client/transmission/pending-request.ts'
import { BufferTarget } from '../../../../client/transmission/read-target.ts'
import { ReplyParser } from '../../../../client/transmission/reply-parser.ts'
import { Memory } from '../../../../shared/syscall/memory.ts'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_ERROR,
  NBD_REPLY_TYPE_ERROR_OFFSET,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE
} from '../../../helpers/raw-constants.ts'
import { NBD_MODE_SIMPLE, NBD_MODE_STRUCTURED, type NBDMode } from '../../../../shared/protocol/nbd-mode.ts'
import { u32, u64 } from '../../../helpers/raw-wire.ts'
import { ALLOCATION_ID, comparable, cuts, parse, type Expected, type Outcome } from '../helpers/parsing.ts'
import {
  chunk,
  dataPayload,
  errorPayload,
  holePayload,
  pattern,
  simpleReply,
  statusPayload
} from '../helpers/reply-bytes.ts'

const DATA = NBD_REPLY_TYPE_OFFSET_DATA
const HOLE = NBD_REPLY_TYPE_OFFSET_HOLE
const STATUS = NBD_REPLY_TYPE_BLOCK_STATUS
const NONE = NBD_REPLY_TYPE_NONE
const ERROR = NBD_REPLY_TYPE_ERROR
const ERROR_OFFSET = NBD_REPLY_TYPE_ERROR_OFFSET
const UNKNOWN_ERROR = 0x8fff

const read = (offset: number, length: number): Expected => ({ type: NBD_CMD_READ, offset, length })
const status = (offset: number, length: number): Expected => ({ type: NBD_CMD_BLOCK_STATUS, offset, length })
const write: Expected = { type: NBD_CMD_WRITE, offset: 0, length: 512 }

type Wanted = Buffer | number[] | Record<string, number[]> | RegExp

interface Case {
  requests: Expected[]
  bytes: Buffer[]
  contexts?: Record<number, string>
  mode?: NBDMode
  /** Result, or text of the error, of each request. */
  outcomes: Wanted[]
  errnos?: number[]
}

const more = { done: false }
const zeroes = (length: number): Buffer => Buffer.alloc(length)

const cases: Record<string, Case> = {
  'simple replies, in another order': {
    requests: [{ type: NBD_CMD_FLUSH }, write, { type: NBD_CMD_TRIM, length: 9 }],
    bytes: [simpleReply(3n), simpleReply(1n), simpleReply(2n)],
    mode: NBD_MODE_SIMPLE,
    outcomes: [[], [], []]
  },
  'simple replies with data between': {
    requests: [read(10, 5), write, read(0, 3)],
    bytes: [simpleReply(1n, 0, pattern(5)), simpleReply(2n), simpleReply(3n, 0, pattern(3, 9))],
    mode: NBD_MODE_SIMPLE,
    outcomes: [pattern(5), [], pattern(3, 9)]
  },
  'simple errors; a failed READ has no data': {
    requests: [read(10, 5), write, { type: NBD_CMD_FLUSH }],
    bytes: [simpleReply(1n, 5), simpleReply(2n, 28), simpleReply(3n)],
    mode: NBD_MODE_SIMPLE,
    outcomes: [/^NBD_CMD_READ of 5 bytes at 10: i\/o error$/, /no space left/, []],
    errnos: [5, 28, 0]
  },
  'error values that the protocol does not know count as EINVAL': {
    requests: [write, write],
    bytes: [simpleReply(1n, 30), simpleReply(2n, 0xffffffff)],
    outcomes: [/error 30/, /error 0xffffffff/],
    errnos: [22, 22]
  },
  'simple replies among chunks': {
    requests: [write, read(0, 4), { type: NBD_CMD_FLUSH }],
    bytes: [simpleReply(3n), chunk(2n, DATA, dataPayload(0n, pattern(4))), simpleReply(1n, 1)],
    outcomes: [/operation not permitted/, pattern(4), []]
  },
  'data in one chunk': {
    requests: [read(100, 8)],
    bytes: [chunk(1n, DATA, dataPayload(100n, pattern(8)))],
    outcomes: [pattern(8)]
  },
  'data at the largest offsets': {
    requests: [read(2 ** 53 - 9, 8)],
    bytes: [chunk(1n, DATA, dataPayload(2n ** 53n - 9n, pattern(8)))],
    outcomes: [pattern(8)]
  },
  'data and holes in any order, ended by NONE': {
    requests: [read(100, 16)],
    bytes: [
      chunk(1n, DATA, dataPayload(112n, pattern(4)), more),
      chunk(1n, HOLE, holePayload(104n, 8), more),
      chunk(1n, DATA, dataPayload(100n, pattern(4, 4)), more),
      chunk(1n, NONE)
    ],
    outcomes: [Buffer.concat([pattern(4, 4), zeroes(8), pattern(4)])]
  },
  'a hole as the last chunk': {
    requests: [read(0, 6)],
    bytes: [chunk(1n, DATA, dataPayload(0n, pattern(1)), more), chunk(1n, HOLE, holePayload(1n, 5))],
    outcomes: [Buffer.concat([pattern(1), zeroes(5)])]
  },
  'chunks of two replies, interleaved': {
    requests: [read(0, 4), read(0, 4)],
    bytes: [
      chunk(1n, DATA, dataPayload(0n, pattern(2)), more),
      chunk(2n, DATA, dataPayload(2n, pattern(2, 50)), more),
      chunk(1n, DATA, dataPayload(2n, pattern(2, 2))),
      chunk(2n, DATA, dataPayload(0n, pattern(2, 48)))
    ],
    outcomes: [pattern(4), pattern(4, 48)]
  },
  'NONE to what has no data': { requests: [write], bytes: [chunk(1n, NONE)], outcomes: [[]] },
  'unknown chunk flags are ignored': {
    requests: [write],
    bytes: [Buffer.concat([u32(0x668e33ef), u32(0xffff0000), u64(1n), u32(0)])],
    outcomes: [[]]
  },
  'an error with the text of the server, made printable': {
    requests: [write],
    bytes: [chunk(1n, ERROR, errorPayload(28, 'disk\u001b[2J\nfull'))],
    outcomes: [/^NBD_CMD_WRITE of 512 bytes at 0: no space left on device \(server: disk \[2J full\)$/],
    errnos: [28]
  },
  'an error behind data; more data behind the error': {
    requests: [read(0, 4), read(0, 4)],
    bytes: [
      chunk(1n, DATA, dataPayload(0n, pattern(2)), more),
      chunk(1n, ERROR, errorPayload(5), more),
      chunk(1n, DATA, dataPayload(2n, pattern(2)), more),
      chunk(1n, NONE),
      chunk(2n, DATA, dataPayload(0n, pattern(4)))
    ],
    outcomes: [/i\/o error/, pattern(4)]
  },
  'an error with the offset where it occurred': {
    requests: [read(0, 4)],
    bytes: [chunk(1n, ERROR_OFFSET, errorPayload(5, 'bad sector', u64(3n)))],
    outcomes: [/i\/o error \(server: bad sector at 3\)$/]
  },
  'several errors: the first is told': {
    requests: [read(0, 4)],
    bytes: [
      chunk(1n, ERROR_OFFSET, errorPayload(5, 'one', u64(0n)), more),
      chunk(1n, ERROR_OFFSET, errorPayload(12, 'two', u64(1n)))
    ],
    outcomes: [/server: one at 0/],
    errnos: [5]
  },
  'an unknown error chunk fails its request only': {
    requests: [write, read(0, 4)],
    bytes: [
      chunk(1n, UNKNOWN_ERROR, errorPayload(28, 'new', Buffer.alloc(33, 0xff))),
      chunk(2n, DATA, dataPayload(0n, pattern(4)))
    ],
    outcomes: [/no space left on device \(server: new\)/, pattern(4)]
  },
  'an error chunk without an error is one nevertheless': {
    requests: [write],
    bytes: [chunk(1n, ERROR, errorPayload(0))],
    outcomes: [/NBD_CMD_WRITE/],
    errnos: [22]
  },
  'status in one chunk, longer than asked for': {
    requests: [status(0, 100)],
    bytes: [chunk(1n, STATUS, statusPayload(ALLOCATION_ID, 50, 0, 4096, 3))],
    outcomes: [[50, 0, 4096, 3]]
  },
  'status and then NONE': {
    requests: [status(0, 100)],
    bytes: [chunk(1n, STATUS, statusPayload(ALLOCATION_ID, 10, 0xffffffff), more), chunk(1n, NONE)],
    outcomes: [[10, 0xffffffff]]
  },
  'status of extents behind the request is dropped': {
    requests: [status(0, 100)],
    bytes: [chunk(1n, STATUS, statusPayload(ALLOCATION_ID, 60, 0, 40, 3, 1, 0, 1, 3))],
    outcomes: [[60, 0, 40, 3]]
  },
  'status of two contexts, with something in between': {
    requests: [status(0, 100), { type: NBD_CMD_FLUSH }],
    contexts: { 7: 'qemu:dirty-bitmap:b', [ALLOCATION_ID]: 'base:allocation' },
    bytes: [
      chunk(1n, STATUS, statusPayload(7, 10, 0xffffffff, 90, 0), more),
      simpleReply(2n),
      chunk(1n, STATUS, statusPayload(ALLOCATION_ID, 60, 3))
    ],
    outcomes: [{ 'qemu:dirty-bitmap:b': [10, 0xffffffff, 90, 0], 'base:allocation': [60, 3] }, []]
  },
  'status that fails': {
    requests: [status(0, 100), { type: NBD_CMD_FLUSH }],
    bytes: [chunk(1n, ERROR, errorPayload(22, 'no')), simpleReply(2n)],
    outcomes: [/invalid argument \(server: no\)/, []]
  }
}

const matches = (outcome: Outcome, expected: Wanted): boolean => {
  const { result, error } = outcome
  if (expected instanceof RegExp) return error?.kind === 'request' && expected.test(error.message)
  if (Buffer.isBuffer(expected)) return Buffer.isBuffer(result) && result.equals(expected)
  return !Buffer.isBuffer(result) && JSON.stringify(result) === JSON.stringify(expected)
}

for (const [name, { requests, bytes, outcomes, errnos, ...options }] of Object.entries(cases)) {
  void t.test(`ReplyParser - ${name}`, async (t) => {
    const stream = Buffer.concat(bytes)
    const whole = parse(requests, [stream], options)
    t.equal(whole.fatal, undefined)
    outcomes.forEach((expected, i) => t.ok(matches(whole.outcomes[i]!, expected), `request ${i + 1}`))
    if (errnos)
      t.strictSame(
        whole.outcomes.map(({ error }) => error?.errno ?? 0),
        errnos
      )
    const expected = JSON.stringify(comparable(whole))
    const others = [...cuts(stream)].filter(
      (pieces) => JSON.stringify(comparable(parse(requests, pieces, options))) !== expected
    )
    t.equal(others.length, 0, 'cuts change nothing')
  })

  void t.test(`ReplyParser - ${name}: nothing is settled before its last byte`, async (t) => {
    const stream = Buffer.concat(bytes)
    const { outcomes } = parse(requests, [stream.subarray(0, -1)], options)
    const open = outcomes.filter(({ result, error }) => result === undefined && error === undefined)
    t.equal(open.length, 1)
  })
}

void t.test('ReplyParser - lets large data be received where they belong', async (t) => {
  const length = 64 * 1024
  const data = pattern(length)
  const memory = Memory.allocate(length + 100)
  const table = new CookieTable()
  const parser = new ReplyParser(table, NBD_MODE_STRUCTURED, new Map())
  const settled: string[] = []
  const target = new BufferTarget(memory.buffer, memory, 100)
  const command = { type: NBD_CMD_READ, flags: 0, offset: 4096, length, target }
  table.add(
    new PendingRequest(
      command,
      () => settled.push('resolved'),
      (error) => settled.push(String(error))
    )
  )
  const stream = chunk(1n, DATA, dataPayload(4096n, data))
  const head = stream.subarray(0, 28 + 1000)
  t.equal(parser.consume(head, 0, 28), 28)
  t.strictSame({ ...parser.direct, memory: 0 }, { memory: 0, at: 100, length })
  t.equal(parser.consume(head, 28, head.length), head.length)
  t.strictSame({ ...parser.direct, memory: 0 }, { memory: 0, at: 1100, length: length - 1000 })
  data.copy(memory.buffer, 1100, 1000)
  t.strictSame(settled, [])
  parser.directReceived(20_000)
  t.strictSame({ ...parser.direct, memory: 0 }, { memory: 0, at: 21_100, length: length - 21_000 })
  parser.directReceived(length - 21_000)
  t.strictSame(settled, ['resolved'])
  t.ok(memory.buffer.subarray(100, 100 + length).equals(data))
  t.equal(parser.direct, undefined)
  t.equal(table.size, 0)
})

void t.test('ReplyParser - receives small data with what follows', async (t) => {
  const memory = Memory.allocate(4096)
  const table = new CookieTable()
  const parser = new ReplyParser(table, NBD_MODE_STRUCTURED, new Map())
  const target = new BufferTarget(memory.buffer, memory, 0)
  const ignore = (): void => undefined
  table.add(
    new PendingRequest({ type: NBD_CMD_READ, flags: 0, offset: 0, length: 4096, target }, ignore, ignore)
  )
  const stream = chunk(1n, DATA, dataPayload(0n, pattern(4096)))
  parser.consume(stream, 0, 100)
  t.equal(parser.direct, undefined)
})
