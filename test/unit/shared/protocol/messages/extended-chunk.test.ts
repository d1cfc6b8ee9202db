import t from 'tap'
import {
  decodeExtendedChunk,
  encodeExtendedChunk,
  NBD_EXTENDED_CHUNK_SIZE,
  NBD_EXTENDED_CONTEXT_SIZE,
  NBD_EXTENDED_EXTENT_SIZE
} from '../../../../../shared/protocol/messages/extended-chunk.ts'

const golden = '6e8a278c' + '0001' + '8001' + '0123456789abcdef' + 'fedcba9876543210' + '0000000000000012'

void t.test('extended chunk - golden bytes both ways, at any place in a buffer', async (t) => {
  for (const at of [0, 1, 33]) {
    const bytes = Buffer.alloc(100, 0xee)
    encodeExtendedChunk(bytes, at, 1, 0x8001, 0x01234567, 0x89abcdef, 0xfedcba98, 0x76543210, 18)
    t.equal(bytes.toString('hex', at, at + NBD_EXTENDED_CHUNK_SIZE), golden)
    t.ok(bytes.subarray(at + NBD_EXTENDED_CHUNK_SIZE).every((byte) => byte === 0xee))
    t.strictSame(decodeExtendedChunk(bytes, at), {
      flags: 1,
      type: 0x8001,
      cookieHigh: 0x01234567,
      cookieLow: 0x89abcdef,
      offset: Infinity,
      length: 18
    })
  }
})

void t.test('extended chunk - boundary values stay unsigned', async (t) => {
  const bytes = Buffer.alloc(NBD_EXTENDED_CHUNK_SIZE)
  for (const value of [0, 0x7fffffff, 0x80000000, 0xffffffff]) {
    encodeExtendedChunk(bytes, 0, value >>> 16, value >>> 16, value, value, 0, value, value)
    t.match(decodeExtendedChunk(bytes, 0), {
      type: value >>> 16,
      cookieHigh: value,
      cookieLow: value,
      offset: value,
      length: value
    })
  }
})

void t.test('extended chunk - offset and length are exact up to 2^53 - 1, and Infinity beyond', async (t) => {
  for (const [hex, value] of [
    ['0000000100000001', 2 ** 32 + 1],
    ['001fffffffffffff', 2 ** 53 - 1],
    ['0020000000000000', Infinity],
    ['ffffffffffffffff', Infinity]
  ] as const) {
    const bytes = Buffer.from(golden.slice(0, 32) + hex + hex, 'hex')
    t.match(decodeExtendedChunk(bytes, 0), { offset: value, length: value })
  }
})

void t.test('extended chunk - another magic is told by undefined', async (t) => {
  for (const hex of ['668e33ef', '67446698', '00000000', '21e41c71', 'ee8a278c'])
    t.equal(decodeExtendedChunk(Buffer.from(hex + golden.slice(8), 'hex'), 0), undefined)
})

void t.test('extended chunk sizes - are those of the specification', async (t) => {
  t.strictSame([NBD_EXTENDED_CHUNK_SIZE, NBD_EXTENDED_CONTEXT_SIZE, NBD_EXTENDED_EXTENT_SIZE], [32, 8, 16])
})
