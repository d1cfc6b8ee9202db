import t from 'tap'
import {
  decodeChunk,
  encodeChunk,
  encodeChunkError,
  NBD_CHUNK_CONTEXT_SIZE,
  NBD_CHUNK_ERROR_SIZE,
  NBD_CHUNK_OFFSET_SIZE,
  NBD_CHUNK_SIZE,
  NBD_EXTENT_SIZE
} from '../../../../../shared/protocol/messages/structured-chunk.ts'

const golden = '668e33ef' + '0001' + '8001' + '0123456789abcdef' + '00000012'

void t.test('chunk - golden bytes both ways, at any place in a buffer', async (t) => {
  for (const at of [0, 1, 33]) {
    const bytes = Buffer.alloc(100, 0xee)
    encodeChunk(bytes, at, 1, 0x8001, 0x01234567, 0x89abcdef, 18)
    t.equal(bytes.toString('hex', at, at + NBD_CHUNK_SIZE), golden)
    t.ok(bytes.subarray(at + NBD_CHUNK_SIZE).every((byte) => byte === 0xee))
    t.strictSame(decodeChunk(bytes, at), {
      flags: 1,
      type: 0x8001,
      cookieHigh: 0x01234567,
      cookieLow: 0x89abcdef,
      length: 18
    })
  }
})

void t.test('chunk - boundary values stay unsigned', async (t) => {
  const bytes = Buffer.alloc(NBD_CHUNK_SIZE)
  for (const value of [0, 0x7fffffff, 0x80000000, 0xffffffff]) {
    encodeChunk(bytes, 0, value >>> 16, value >>> 16, value, value, value)
    t.match(decodeChunk(bytes, 0), { type: value >>> 16, cookieHigh: value, cookieLow: value, length: value })
  }
})

void t.test('chunk - another magic is told by undefined', async (t) => {
  for (const hex of ['67446698', '00000000', '668e33ee', 'e68e33ef']) {
    t.equal(decodeChunk(Buffer.from(hex + golden.slice(8), 'hex'), 0), undefined)
  }
})

void t.test('chunk error - golden bytes', async (t) => {
  const bytes = Buffer.alloc(NBD_CHUNK_ERROR_SIZE + 3)
  encodeChunkError(bytes, 0, 22, Buffer.from('bad'))
  t.equal(bytes.toString('hex'), '00000016' + '0003' + '626164')
  encodeChunkError(bytes, 0, 0xffffffff, Buffer.alloc(0))
  t.equal(bytes.toString('hex', 0, 6), 'ffffffff' + '0000')
})

void t.test('chunk sizes - are those of the specification', async (t) => {
  t.strictSame(
    [NBD_CHUNK_SIZE, NBD_CHUNK_OFFSET_SIZE, NBD_CHUNK_CONTEXT_SIZE, NBD_EXTENT_SIZE, NBD_CHUNK_ERROR_SIZE],
    [20, 8, 4, 8, 6]
  )
})
