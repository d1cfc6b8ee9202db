import { constants } from 'node:os'
import t from 'tap'
import { NBD_MODE_EXTENDED, NBD_MODE_STRUCTURED } from '../../../../shared/protocol/nbd-mode.ts'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_BLOCK_STATUS_EXT,
  NBD_REPLY_TYPE_ERROR,
  NBD_REPLY_TYPE_ERROR_OFFSET,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE,
  NBD_SIMPLE_REPLY_MAGIC,
  NBD_STRUCTURED_REPLY_MAGIC
} from '../../../helpers/raw-constants.ts'
import { u64 } from '../../../helpers/raw-wire.ts'
import { ALLOCATION_ID, comparable, cuts, parse, type Expected } from '../helpers/parsing.ts'
import {
  chunk,
  dataPayload,
  errorPayload,
  extendedChunk,
  extendedStatusPayload,
  holePayload,
  pattern,
  simpleReply,
  statusPayload
} from '../helpers/reply-bytes.ts'

const NONE = NBD_REPLY_TYPE_NONE
const DATA = NBD_REPLY_TYPE_OFFSET_DATA
const HOLE = NBD_REPLY_TYPE_OFFSET_HOLE
const STATUS = NBD_REPLY_TYPE_BLOCK_STATUS_EXT
const ERROR = NBD_REPLY_TYPE_ERROR
const TiB = 2 ** 40
const mode = NBD_MODE_EXTENDED
const more = { done: false }
const read = (offset: number, length: number): Expected => ({ type: NBD_CMD_READ, offset, length })
const status = (offset: number, length: number): Expected => ({ type: NBD_CMD_BLOCK_STATUS, offset, length })
const onAllocation = (...numbers: (bigint | number)[]): Buffer =>
  extendedStatusPayload(ALLOCATION_ID, numbers)

void t.test('ReplyParser, extended - takes replies of all kinds, however they are cut', async (t) => {
  const data = pattern(16)
  const requests: Expected[] = [
    read(TiB + 100, 16),
    { type: NBD_CMD_TRIM, offset: 512, length: 5 * TiB },
    status(4096, 3 * TiB),
    { type: NBD_CMD_FLUSH },
    read(0, 8)
  ]
  const stream = Buffer.concat([
    extendedChunk(1n, TiB + 100, DATA, dataPayload(BigInt(TiB + 108), data.subarray(8)), more),
    extendedChunk(4n, 0, NONE),
    extendedChunk(2n, 512, NONE),
    extendedChunk(1n, TiB + 100, HOLE, holePayload(BigInt(TiB + 100), 8)),
    extendedChunk(3n, 4096, STATUS, onAllocation(2 * TiB, 3, 2 ** 32 + 1, 0), more),
    extendedChunk(3n, 4096, NONE),
    extendedChunk(5n, 0, NBD_REPLY_TYPE_ERROR_OFFSET, errorPayload(5, 'broken', u64(4n)), more),
    extendedChunk(5n, 0, NONE)
  ])
  const whole = parse(requests, [stream], { mode })
  t.equal(whole.fatal, undefined)
  const [first, second, third, fourth, fifth] = whole.outcomes
  t.ok((first!.result as Buffer).equals(Buffer.concat([Buffer.alloc(8), data.subarray(8)])))
  t.strictSame(second!.result, [])
  t.strictSame(third!.result, [2 * TiB, 3, 2 ** 32 + 1, 0])
  t.strictSame(fourth!.result, [])
  t.match(fifth!.error, { kind: 'request', errno: constants.errno.EIO, message: /broken at 4/ })
  const expected = JSON.stringify(comparable(whole))
  const others = [...cuts(stream)].filter(
    (pieces) => JSON.stringify(comparable(parse(requests, pieces, { mode }))) !== expected
  )
  t.equal(others.length, 0, 'cuts change nothing')
})

void t.test(
  'ReplyParser, extended - an extent that goes on to 2^64 is taken as far as it can be',
  async (t) => {
    const bytes = extendedChunk(1n, 0, STATUS, onAllocation(1, 3, 2n ** 64n - 1n, 0))
    const { outcomes } = parse([status(0, TiB)], [bytes], { mode })
    t.strictSame(outcomes[0]!.result, [1, 3, Number.MAX_SAFE_INTEGER, 0])
  }
)

void t.test(
  'ReplyParser, extended - flags are exact up to 53 bits; others fail the request alone',
  async (t) => {
    const exact = extendedChunk(1n, 0, STATUS, onAllocation(8, 2n ** 53n - 1n))
    const beyond = extendedChunk(2n, 0, STATUS, onAllocation(8, 2n ** 53n))
    const { outcomes, fatal } = parse([status(0, 8), status(0, 8), status(0, 8)], [exact, beyond], { mode })
    t.strictSame(outcomes[0]!.result, [8, 2 ** 53 - 1])
    t.match(outcomes[1]!.error, { kind: 'request', errno: constants.errno.EOVERFLOW })
    t.strictSame(outcomes[2], {}, 'the others go on')
    t.equal(fatal, undefined)
  }
)

const one = [read(100, 8)]
const oneStatus = [status(0, 64)]
const broken: Record<string, { requests: Expected[]; bytes: Buffer; why: RegExp }> = {
  'a simple reply': {
    requests: one,
    bytes: simpleReply(1n, 5),
    why: /wrong reply magic 0x67446698: extended headers were negotiated/
  },
  'a structured chunk': { requests: one, bytes: chunk(1n, NONE), why: /wrong reply magic 0x668e33ef/ },
  'the magic of a request': {
    requests: one,
    bytes: extendedChunk(1n, 100, NONE, undefined, { magic: 0x21e41c71 }),
    why: /wrong reply magic 0x21e41c71/
  },
  'an unknown cookie': { requests: one, bytes: extendedChunk(2n ** 32n + 1n, 100, NONE), why: /cookie/ },
  'the offset of the data instead of that of the request': {
    requests: one,
    bytes: extendedChunk(1n, 104, DATA, dataPayload(104n, pattern(4))),
    why: /a chunk with the offset 104 in the reply to NBD_CMD_READ of 8 bytes at 100/
  },
  'an offset that differs above 32 bits': {
    requests: one,
    bytes: extendedChunk(1n, 2n ** 32n + 100n, NONE),
    why: /a chunk with the offset 4294967396/
  },
  'an offset beyond 2^53': {
    requests: one,
    bytes: extendedChunk(1n, 2n ** 63n + 100n, NONE),
    why: /a chunk with the offset Infinity/
  },
  'another offset for FLUSH': {
    requests: [{ type: NBD_CMD_FLUSH }],
    bytes: extendedChunk(1n, 1, NONE),
    why: /a chunk with the offset 1 in the reply to NBD_CMD_FLUSH/
  },
  'a payload of 2^64 - 1 bytes': {
    requests: one,
    bytes: extendedChunk(1n, 100, DATA, u64(100n), { length: 2n ** 64n - 1n }),
    why: /lies outside the request/
  },
  'a payload of 2^32 + 16 bytes for 8': {
    requests: one,
    bytes: extendedChunk(1n, 100, DATA, u64(100n), { length: 2n ** 32n + 16n }),
    why: /lies outside the request/
  },
  'NONE with a payload of 2^32 bytes': {
    requests: one,
    bytes: extendedChunk(1n, 100, NONE, undefined, { length: 2n ** 32n }),
    why: /payload of 4294967296 bytes/
  },
  'an error chunk of 4 GiB': {
    requests: one,
    bytes: extendedChunk(1n, 100, ERROR, undefined, { length: 2n ** 32n }),
    why: /payload of 4294967296 bytes/
  },
  'compact status': {
    requests: oneStatus,
    bytes: extendedChunk(1n, 0, NBD_REPLY_TYPE_BLOCK_STATUS, statusPayload(ALLOCATION_ID, 64, 0)),
    why: /type 5 .* does not belong/
  },
  'status for a READ': {
    requests: one,
    bytes: extendedChunk(1n, 100, STATUS, onAllocation(8, 0)),
    why: /type 6 .* does not belong/
  },
  'status without extents': {
    requests: oneStatus,
    bytes: extendedChunk(1n, 0, STATUS, onAllocation()),
    why: /payload of 8 bytes/
  },
  'status of half an extent': {
    requests: oneStatus,
    bytes: extendedChunk(1n, 0, STATUS, onAllocation(8)),
    why: /payload of 16 bytes/
  },
  'fewer extents than announced': {
    requests: oneStatus,
    bytes: extendedChunk(1n, 0, STATUS, extendedStatusPayload(ALLOCATION_ID, [64, 0], 2)),
    why: /2 extents announced, and 1 sent/
  },
  'more extents than announced': {
    requests: oneStatus,
    bytes: extendedChunk(1n, 0, STATUS, extendedStatusPayload(ALLOCATION_ID, [32, 0, 32, 3], 1)),
    why: /1 extents announced, and 2 sent/
  },
  'more than 2^20 extents': {
    requests: oneStatus,
    bytes: extendedChunk(1n, 0, STATUS, undefined, { length: 8 + 16 * (2 ** 20 + 1) }),
    why: /payload of 16777240 bytes/
  },
  'an extent without length': {
    requests: oneStatus,
    bytes: extendedChunk(1n, 0, STATUS, onAllocation(32, 0, 0, 0)),
    why: /extent without length/
  },
  'status of another context': {
    requests: oneStatus,
    bytes: extendedChunk(1n, 0, STATUS, extendedStatusPayload(6, [64, 0])),
    why: /context 6, which was not negotiated/
  },
  'status twice': {
    requests: oneStatus,
    bytes: Buffer.concat([
      extendedChunk(1n, 0, STATUS, onAllocation(64, 0), more),
      extendedChunk(1n, 0, STATUS, onAllocation(64, 0))
    ]),
    why: /twice/
  },
  'success without status': {
    requests: oneStatus,
    bytes: extendedChunk(1n, 0, NONE),
    why: /no status came/
  },
  'success without all data': {
    requests: one,
    bytes: extendedChunk(1n, 100, DATA, dataPayload(100n, pattern(7))),
    why: /not all data came/
  }
}

for (const [name, { requests, bytes, why }] of Object.entries(broken)) {
  void t.test(`ReplyParser, extended - ends the connection at ${name}`, async (t) => {
    const all = [...requests, { type: NBD_CMD_FLUSH, offset: 0 }]
    const whole = parse(all, [bytes], { mode })
    t.equal(whole.fatal?.kind, 'protocol')
    t.match(whole.fatal?.message, why)
    t.ok(whole.outcomes.every(({ result }) => result === undefined))
    const expected = JSON.stringify(comparable(whole))
    const others = [...cuts(bytes)].filter(
      (pieces) => JSON.stringify(comparable(parse(all, pieces, { mode }))) !== expected
    )
    t.equal(others.length, 0, 'cuts change nothing')
  })
}

void t.test('ReplyParser - extended headers that were not negotiated end the connection', async (t) => {
  const { fatal } = parse(one, [extendedChunk(1n, 100, NONE)], { mode: NBD_MODE_STRUCTURED })
  t.match(fatal, { kind: 'protocol', message: /wrong reply magic 0x6e8a278c/ })
})

void t.test(
  'ReplyParser, extended - no garbled byte of a header makes wrong data pass for right',
  async (t) => {
    const data = pattern(12)
    const requests = [read(0, 6), status(0, 64), read(6, 6)]
    const stream = Buffer.concat([
      extendedChunk(1n, 0, DATA, dataPayload(3n, data.subarray(3, 6)), more),
      extendedChunk(1n, 0, DATA, dataPayload(0n, data.subarray(0, 3))),
      extendedChunk(2n, 0, STATUS, onAllocation(32, 0, 32, 3)),
      extendedChunk(3n, 6, DATA, dataPayload(6n, data.subarray(6)), more),
      extendedChunk(3n, 6, NONE)
    ])
    const dataBytes = new Set<number>()
    for (const part of [data.subarray(0, 3), data.subarray(3, 6), data.subarray(6)]) {
      const at = stream.indexOf(part)
      for (let i = 0; i < part.length; i++) dataBytes.add(at + i)
    }
    t.equal(dataBytes.size, 12)
    const expected = [data.subarray(0, 6), undefined, data.subarray(6)]
    const wrong: string[] = []
    let fatal = 0
    for (let at = 0; at < stream.length; at++) {
      for (let bit = 0; bit < 8 && !dataBytes.has(at); bit++) {
        const garbled = Buffer.from(stream)
        garbled[at]! ^= 1 << bit
        const parsed = parse(requests, [garbled], { mode })
        if (parsed.fatal) fatal++
        expected.forEach((right, i) => {
          const { result } = parsed.outcomes[i]!
          if (right && result && !right.equals(result as Buffer))
            wrong.push(`byte ${at}, bit ${bit}, request ${i}`)
        })
      }
    }
    t.strictSame(wrong, [])
    t.ok(fatal > 1200, `${fatal} garbled streams were found out at once`)
  }
)

void t.test('reply magics - differ in more than one bit, so that a flipped one is none', async (t) => {
  const bits = (n: number): number => (n >>> 0).toString(2).replaceAll('0', '').length
  const magics = [NBD_SIMPLE_REPLY_MAGIC, NBD_STRUCTURED_REPLY_MAGIC, 0x6e8a278c]
  for (const one of magics) for (const other of magics) if (one !== other) t.ok(bits(one ^ other) > 1)
})
