import t from 'tap'
import {
  decodeSimpleReply,
  encodeSimpleReply,
  NBD_SIMPLE_REPLY_SIZE
} from '../../../../../shared/protocol/messages/simple-reply.ts'

const golden = '67446698' + '0000001c' + '0123456789abcdef'

void t.test('simple reply - golden bytes both ways, at any place in a buffer', async (t) => {
  for (const at of [0, 1, 33]) {
    const bytes = Buffer.alloc(100, 0xee)
    encodeSimpleReply(bytes, at, 28, 0x01234567, 0x89abcdef)
    t.equal(bytes.toString('hex', at, at + NBD_SIMPLE_REPLY_SIZE), golden)
    t.ok(bytes.subarray(at + NBD_SIMPLE_REPLY_SIZE).every((byte) => byte === 0xee))
    t.strictSame(decodeSimpleReply(bytes, at), { error: 28, cookieHigh: 0x01234567, cookieLow: 0x89abcdef })
  }
})

void t.test('simple reply - boundary values stay unsigned', async (t) => {
  const bytes = Buffer.alloc(NBD_SIMPLE_REPLY_SIZE)
  for (const value of [0, 0x7fffffff, 0x80000000, 0xffffffff]) {
    encodeSimpleReply(bytes, 0, value, value, value)
    t.strictSame(decodeSimpleReply(bytes, 0), { error: value, cookieHigh: value, cookieLow: value })
  }
})

void t.test('simple reply - another magic is told by undefined', async (t) => {
  for (const hex of ['668e33ef', '00000000', '67446699', 'e7446698']) {
    t.equal(decodeSimpleReply(Buffer.from(hex + golden.slice(8), 'hex'), 0), undefined)
  }
})
