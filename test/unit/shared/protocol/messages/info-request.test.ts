import t from 'tap'
import { decodeInfoRequest, encodeInfoRequest } from '../../../../../shared/protocol/messages/info-request.ts'
import { infoPayload } from '../../../../helpers/raw-wire.ts'

const golden = '00000004' + '6469736b' + '0002' + '0000' + '0003'

void t.test('info request - golden bytes both ways', async (t) => {
  t.equal(encodeInfoRequest('disk', [0, 3]).toString('hex'), golden)
  t.strictSame(decodeInfoRequest(Buffer.from(golden, 'hex')), { name: 'disk', infos: new Set([0, 3]) })
})

void t.test('info request - what is encoded is decoded again', async (t) => {
  for (const name of ['', 'é', '\u{1f4be}', 'x'.repeat(4096)]) {
    for (const infos of [[], [0], [0xffff, 0x8000, 1], Array.from({ length: 1024 }, (_, i) => i)]) {
      const bytes = encodeInfoRequest(name, infos)
      t.ok(bytes.equals(infoPayload(name, infos)))
      t.strictSame(decodeInfoRequest(bytes), { name, infos: new Set(infos) })
    }
  }
})

void t.test('info request - cut short at any byte, or with one too many, is a problem', async (t) => {
  const whole = encodeInfoRequest('disk', [0, 3])
  for (let length = 0; length < whole.length; length++) {
    t.match(decodeInfoRequest(whole.subarray(0, length)), { problem: String }, `${length} bytes`)
  }
  t.match(decodeInfoRequest(Buffer.concat([whole, Buffer.alloc(1)])), { problem: String })
  t.match(decodeInfoRequest(Buffer.concat([whole, Buffer.alloc(2)])), { problem: String })
})

void t.test(
  'info request - wrong lengths and counts are problems, not reads beyond the payload',
  async (t) => {
    for (const nameLength of [3, 5, 6, 9, 10, 0x7fffffff, 0x80000000, 0xfffffffa, 0xffffffff]) {
      t.match(
        decodeInfoRequest(infoPayload('disk', [1], { nameLength })),
        { problem: String },
        `length ${nameLength}`
      )
    }
    for (const count of [0, 2, 0x7fff, 0x8000, 0xffff]) {
      t.match(decodeInfoRequest(infoPayload('disk', [1], { count })), { problem: String }, `count ${count}`)
    }
    t.match(decodeInfoRequest(infoPayload('x', Array<number>(1025).fill(1))), { problem: /too many/ })
  }
)

void t.test('info request - a name that is no string of the protocol is a problem', async (t) => {
  for (const name of [Buffer.from('a\0'), Buffer.from([0xff]), Buffer.alloc(4097, 'x')]) {
    t.match(decodeInfoRequest(infoPayload(name)), { problem: /name/ })
  }
})
