import t from 'tap'
import {
  decodeOptionReply,
  encodeOptionReply,
  NBD_OPTION_REPLY_SIZE
} from '../../../../../shared/protocol/messages/option-reply.ts'
import { u32, u64 } from '../../../../helpers/raw-wire.ts'

const golden = '0003e889045565a9' + '00000003' + '80000003' + '00000002' + '6869'

void t.test('option reply - golden bytes both ways', async (t) => {
  t.equal(encodeOptionReply(3, 0x80000003, Buffer.from('hi')).toString('hex'), golden)
  t.strictSame(decodeOptionReply(Buffer.from(golden, 'hex')), { option: 3, type: 0x80000003, length: 2 })
  t.equal(encodeOptionReply(3, 1).length, NBD_OPTION_REPLY_SIZE)
})

void t.test('option reply - boundary values stay unsigned', async (t) => {
  for (const value of [0, 1, 0x7fffffff, 0x80000000, 0xffffffff]) {
    const bytes = Buffer.concat([u64(0x0003e889045565a9n), u32(value), u32(value), u32(value)])
    t.strictSame(decodeOptionReply(bytes), { option: value, type: value, length: value })
    t.ok(encodeOptionReply(value, value).equals(Buffer.concat([bytes.subarray(0, 16), u32(0)])))
  }
})

void t.test('option reply - a wrong magic is told by undefined, wherever it is wrong', async (t) => {
  for (let byte = 0; byte < 8; byte++) {
    const bytes = encodeOptionReply(3, 1)
    bytes[byte]! ^= 1
    t.equal(decodeOptionReply(bytes), undefined, `byte ${byte}`)
  }
})
