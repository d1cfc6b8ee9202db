import t from 'tap'
import {
  decodeOptionRequest,
  encodeOptionRequest,
  NBD_OPTION_SIZE
} from '../../../../../shared/protocol/messages/option-request.ts'
import { option } from '../../../../helpers/raw-wire.ts'

const golden = '49484156454f5054' + '00000007' + '00000003' + '616263'

void t.test('option request - golden bytes both ways', async (t) => {
  t.equal(encodeOptionRequest(7, Buffer.from('abc')).toString('hex'), golden)
  t.strictSame(decodeOptionRequest(Buffer.from(golden, 'hex')), { option: 7, length: 3 })
  t.equal(encodeOptionRequest(7).length, NBD_OPTION_SIZE)
})

void t.test('option request - boundary values stay unsigned', async (t) => {
  for (const number of [0, 1, 0x7fffffff, 0x80000000, 0xffffffff]) {
    for (const length of [0, 1, 0x7fffffff, 0x80000000, 0xffffffff]) {
      const bytes = option(number, Buffer.alloc(0), { length })
      t.strictSame(decodeOptionRequest(bytes), { option: number, length })
    }
    t.ok(encodeOptionRequest(number).equals(option(number)))
  }
})

void t.test('option request - a wrong magic is told by undefined, wherever it is wrong', async (t) => {
  for (let byte = 0; byte < 8; byte++) {
    const bytes = option(7)
    bytes[byte]! ^= 0x80
    t.equal(decodeOptionRequest(bytes), undefined, `byte ${byte}`)
  }
})
