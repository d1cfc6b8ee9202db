import t from 'tap'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_ERROR,
  NBD_REPLY_TYPE_ERROR_OFFSET,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE
} from '../../../helpers/raw-constants.ts'
import { NBD_MODE_SIMPLE } from '../../../../shared/protocol/nbd-mode.ts'
import { u32, u64 } from '../../../helpers/raw-wire.ts'
import {
  ALLOCATION_ID,
  comparable,
  cuts,
  parse,
  type Expected,
  type ParserOptions
} from '../helpers/parsing.ts'
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
const more = { done: false }
const zeroes = (length: number): Buffer => Buffer.alloc(length)

const one = { requests: [read(100, 8)] }

interface Broken extends ParserOptions {
  requests: Expected[]
  bytes: Buffer[]
  why: RegExp
}

const TWO = { [ALLOCATION_ID]: 'base:allocation', 6: 'x:y' }
const broken: Record<string, Broken> = {
  'another magic': { ...one, bytes: [u32(0x67446699)], why: /wrong reply magic 0x67446699/ },
  'the magic of a request': { ...one, bytes: [u32(0x25609513)], why: /wrong reply magic 0x25609513/ },
  'a chunk where none were negotiated': {
    ...one,
    bytes: [u32(0x668e33ef)],
    mode: NBD_MODE_SIMPLE,
    why: /structured replies were not negotiated/
  },
  'a cookie that was never sent': { ...one, bytes: [simpleReply(7n)], why: /cookie 0x0{15}7,/ },
  'a cookie beyond 2^53': {
    ...one,
    bytes: [simpleReply(0xffffffff00000001n)],
    why: /cookie 0xffffffff00000001/
  },
  'a cookie whose low half is right': { ...one, bytes: [simpleReply(2n ** 32n + 1n)], why: /cookie/ },
  'a second reply to the same request': {
    requests: [write],
    bytes: [simpleReply(1n), simpleReply(1n)],
    why: /cookie 0x0{15}1,/
  },
  'a chunk with an unknown cookie': { ...one, bytes: [chunk(9n, NONE)], why: /cookie/ },
  'a simple reply to a READ of a structured connection': {
    ...one,
    bytes: [simpleReply(1n, 0, pattern(8))],
    why: /a simple reply to NBD_CMD_READ of 8 bytes at 100/
  },
  'NONE that is not the last': { ...one, bytes: [chunk(1n, NONE, zeroes(0), more)], why: /must be the last/ },
  'NONE with a payload': {
    requests: [write],
    bytes: [chunk(1n, NONE, zeroes(1))],
    why: /payload of 1 bytes/
  },
  'data without data': { ...one, bytes: [chunk(1n, DATA, u64(100n))], why: /payload of 8 bytes/ },
  'data too short for its offset': { ...one, bytes: [chunk(1n, DATA, zeroes(3))], why: /payload of 3 bytes/ },
  'data before the request': {
    ...one,
    bytes: [chunk(1n, DATA, dataPayload(99n, pattern(8)))],
    why: /8 bytes at 99 .* lies outside the request/
  },
  'data behind the request': {
    ...one,
    bytes: [chunk(1n, DATA, dataPayload(101n, pattern(8)))],
    why: /lies outside the request/
  },
  'data at 2^64 - 4': {
    ...one,
    bytes: [chunk(1n, DATA, dataPayload(2n ** 64n - 4n, pattern(8)))],
    why: /lies outside the request/
  },
  'more data than a length can hold': {
    ...one,
    bytes: [chunk(1n, DATA, u64(100n), { length: 0xffffffff })],
    why: /lies outside the request/
  },
  'data that overlap': {
    ...one,
    bytes: [
      chunk(1n, DATA, dataPayload(100n, pattern(5)), more),
      chunk(1n, DATA, dataPayload(104n, pattern(4)))
    ],
    why: /overlaps an earlier one/
  },
  'a hole over data': {
    ...one,
    bytes: [chunk(1n, DATA, dataPayload(100n, pattern(8)), more), chunk(1n, HOLE, holePayload(100n, 8))],
    why: /overlaps an earlier one/
  },
  'success before all data came': {
    ...one,
    bytes: [chunk(1n, DATA, dataPayload(100n, pattern(7)))],
    why: /ends, but not all data came/
  },
  'success without any data': { ...one, bytes: [chunk(1n, NONE)], why: /not all data came/ },
  'a hole of the wrong size': {
    ...one,
    bytes: [chunk(1n, HOLE, zeroes(11))],
    why: /type 2 .* payload of 11 bytes/
  },
  'a hole without length': {
    ...one,
    bytes: [chunk(1n, HOLE, holePayload(100n, 0))],
    why: /hole without length/
  },
  'a hole behind the request': {
    ...one,
    bytes: [chunk(1n, HOLE, holePayload(100n, 9))],
    why: /lies outside/
  },
  'data for a WRITE': {
    requests: [write],
    bytes: [chunk(1n, DATA, dataPayload(0n, zeroes(512)))],
    why: /type 1 .* does not belong/
  },
  'status for a READ': {
    ...one,
    bytes: [chunk(1n, STATUS, statusPayload(ALLOCATION_ID, 8, 0))],
    why: /type 5 .* does not belong/
  },
  'an unknown chunk that is no error': {
    ...one,
    bytes: [chunk(1n, 3, zeroes(4))],
    why: /type 3 .* does not belong/
  },
  'a chunk of extended headers': {
    requests: [status(0, 8)],
    bytes: [chunk(1n, 6, zeroes(24))],
    why: /type 6 .* does not belong/
  },
  'status of another context': {
    requests: [status(0, 8)],
    bytes: [chunk(1n, STATUS, statusPayload(6, 8, 0))],
    why: /context 6, which was not negotiated/
  },
  'status twice': {
    requests: [status(0, 8)],
    bytes: [
      chunk(1n, STATUS, statusPayload(ALLOCATION_ID, 8, 0), more),
      chunk(1n, STATUS, statusPayload(ALLOCATION_ID, 8, 0))
    ],
    why: /twice/
  },
  'status without extents': {
    requests: [status(0, 8)],
    bytes: [chunk(1n, STATUS, statusPayload(ALLOCATION_ID))],
    why: /payload of 4 bytes/
  },
  'status of half an extent': {
    requests: [status(0, 8)],
    bytes: [chunk(1n, STATUS, statusPayload(ALLOCATION_ID, 8))],
    why: /payload of 8 bytes/
  },
  'status of more than 2^20 extents': {
    requests: [status(0, 8)],
    bytes: [chunk(1n, STATUS, zeroes(0), { length: 4 + 8 * (2 ** 20 + 1) })],
    why: /payload of 8388620 bytes/
  },
  'an extent without length': {
    requests: [status(0, 8)],
    bytes: [chunk(1n, STATUS, statusPayload(ALLOCATION_ID, 4, 0, 0, 0))],
    why: /extent without length/
  },
  'success without status': { requests: [status(0, 8)], bytes: [simpleReply(1n)], why: /no status came/ },
  'success without the status of one of two contexts': {
    requests: [status(0, 8)],
    contexts: TWO,
    bytes: [chunk(1n, STATUS, statusPayload(ALLOCATION_ID, 8, 0))],
    why: /no status came of x:y/
  },
  'status of the second context twice': {
    requests: [status(0, 8)],
    contexts: TWO,
    bytes: [chunk(1n, STATUS, statusPayload(6, 8, 0), more), chunk(1n, STATUS, statusPayload(6, 8, 0), more)],
    why: /context 6 twice/
  },
  'status of a third context': {
    requests: [status(0, 8)],
    contexts: TWO,
    bytes: [chunk(1n, STATUS, statusPayload(7, 8, 0))],
    why: /context 7, which was not negotiated/
  },
  'an error chunk too short for its text': {
    ...one,
    bytes: [chunk(1n, ERROR, zeroes(5))],
    why: /payload of 5 bytes/
  },
  'an error chunk too short for its offset': {
    ...one,
    bytes: [chunk(1n, ERROR_OFFSET, errorPayload(5, '1234567'))],
    why: /payload of 13 bytes/
  },
  'an error text that does not fit': {
    ...one,
    bytes: [chunk(1n, ERROR, Buffer.concat([errorPayload(5).subarray(0, 5), Buffer.from([3, 0, 0])]))],
    why: /error text of 3 bytes/
  },
  'an error text over the offset': {
    ...one,
    bytes: [chunk(1n, ERROR_OFFSET, errorPayload(5, '123456789'))],
    why: /error text of 9 bytes/
  },
  'an error text of 4097 bytes': {
    ...one,
    bytes: [chunk(1n, ERROR, errorPayload(5, 'x'.repeat(4097)))],
    why: /error text of 4097 bytes/
  },
  'an error chunk of 4 GiB': {
    ...one,
    bytes: [chunk(1n, UNKNOWN_ERROR, zeroes(0), { length: 0xffffffff })],
    why: /payload of 4294967295 bytes/
  }
}

for (const [name, { requests, bytes, why, ...options }] of Object.entries(broken)) {
  void t.test(`ReplyParser - ends the connection at ${name}`, async (t) => {
    const bystander = { type: NBD_CMD_FLUSH }
    const stream = Buffer.concat(bytes)
    const whole = parse([...requests, bystander], [stream], options)
    t.equal(whole.fatal?.kind, 'protocol')
    t.match(whole.fatal?.message, why)
    const last = whole.outcomes.at(-1)!.error
    t.equal(last?.kind, 'protocol')
    t.match(last?.message, why, 'who did nothing wrong learns the reason')
    const succeeded = whole.outcomes.filter(({ result }) => result !== undefined).length
    t.equal(succeeded, name.startsWith('a second reply') ? 1 : 0)
    const expected = JSON.stringify(comparable(whole))
    const others = [...cuts(stream)].filter(
      (pieces) => JSON.stringify(comparable(parse([...requests, bystander], pieces, options))) !== expected
    )
    t.equal(others.length, 0, 'cuts change nothing')
  })
}

void t.test('ReplyParser - no garbled byte makes wrong data pass for right', async (t) => {
  const requests = [read(0, 6), write, status(0, 64), read(6, 6)]
  const data = pattern(12)
  const parts = [
    chunk(1n, DATA, dataPayload(3n, data.subarray(3, 6)), more),
    simpleReply(2n),
    chunk(1n, DATA, dataPayload(0n, data.subarray(0, 3))),
    chunk(3n, STATUS, statusPayload(ALLOCATION_ID, 32, 0, 32, 3)),
    chunk(4n, DATA, dataPayload(6n, data.subarray(6)), more),
    chunk(4n, NONE)
  ]
  const stream = Buffer.concat(parts)
  // Bytes whose change nobody can see: the data themselves.
  const dataBytes = new Set<number>()
  for (const part of [data.subarray(0, 3), data.subarray(3, 6), data.subarray(6)]) {
    const at = stream.indexOf(part)
    for (let i = 0; i < part.length; i++) dataBytes.add(at + i)
  }
  t.equal(dataBytes.size, 12)
  const expected = [data.subarray(0, 6), undefined, undefined, data.subarray(6)]
  const wrong: string[] = []
  let fatal = 0
  for (let at = 0; at < stream.length; at++) {
    if (dataBytes.has(at)) continue
    for (let bit = 0; bit < 8; bit++) {
      const garbled = Buffer.from(stream)
      garbled[at]! ^= 1 << bit
      const parsed = parse(requests, [garbled])
      if (parsed.fatal) fatal++
      expected.forEach((right, i) => {
        const { result } = parsed.outcomes[i]!
        if (right && result && !right.equals(result as Buffer))
          wrong.push(`byte ${at}, bit ${bit}, request ${i + 1}`)
      })
    }
  }
  t.strictSame(wrong, [])
  t.ok(fatal > 1000, `${fatal} garbled streams were found out at once`)
})
