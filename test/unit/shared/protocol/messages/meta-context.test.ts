import t from 'tap'
import {
  decodeMetaContextQuery,
  encodeMetaContextQuery,
  encodeMetaContextReply
} from '../../../../../shared/protocol/messages/meta-context.ts'
import { lengthAndText, metaPayload, u32 } from '../../../../helpers/raw-wire.ts'

const golden = '00000004' + '6469736b' + '00000002' + '00000005' + '626173653a' + '00000001' + '78'

void t.test('meta context query - golden bytes both ways', async (t) => {
  t.equal(encodeMetaContextQuery('disk', ['base:', 'x']).toString('hex'), golden)
  t.strictSame(decodeMetaContextQuery(Buffer.from(golden, 'hex')), { name: 'disk', queries: ['base:', 'x'] })
})

void t.test('meta context query - what is encoded is decoded again', async (t) => {
  for (const name of ['', 'é', 'x'.repeat(4096)]) {
    for (const queries of [
      [],
      [''],
      ['base:allocation', '', 'é'.repeat(2048)],
      Array<string>(1024).fill('q')
    ]) {
      const bytes = encodeMetaContextQuery(name, queries)
      t.ok(bytes.equals(metaPayload(name, queries)))
      t.strictSame(decodeMetaContextQuery(bytes), { name, queries })
    }
  }
})

void t.test('meta context query - cut short at any byte, or with one too many, is a problem', async (t) => {
  const whole = encodeMetaContextQuery('disk', ['base:', 'x'])
  for (let length = 0; length < whole.length; length++) {
    const result = decodeMetaContextQuery(whole.subarray(0, length))
    t.match(result, { problem: String }, `${length} bytes`)
    t.notOk('tooBig' in result)
  }
  t.match(decodeMetaContextQuery(Buffer.concat([whole, Buffer.alloc(1)])), { problem: String })
})

void t.test(
  'meta context query - wrong lengths and counts are problems, not reads beyond the payload',
  async (t) => {
    for (const length of [3, 5, 0x7fffffff, 0x80000000, 0xffffffff]) {
      const name = Buffer.concat([lengthAndText('disk', length), u32(0)])
      t.match(decodeMetaContextQuery(name), { problem: String }, `name length ${length}`)
      const query = Buffer.concat([lengthAndText('disk'), u32(1), lengthAndText('quer', length)])
      t.match(decodeMetaContextQuery(query), { problem: String }, `query length ${length}`)
    }
    for (const count of [0, 2, 0x3fffffff, 0x40000000, 0x80000000, 0xffffffff]) {
      const result = decodeMetaContextQuery(metaPayload('disk', ['query'], count))
      t.match(result, { problem: String }, `count ${count}`)
      t.notOk('tooBig' in result, 'malformed, not too big')
    }
  }
)

void t.test('meta context query - well-formed and more than 1024 queries is too big', async (t) => {
  t.match(decodeMetaContextQuery(metaPayload('disk', Array<string>(1025).fill('q'))), { tooBig: true })
  t.match(decodeMetaContextQuery(metaPayload('disk', Array<string>(1025).fill(''))), { tooBig: true })
})

void t.test('meta context query - a text that is no string of the protocol is a problem', async (t) => {
  for (const bytes of [Buffer.from('a\0'), Buffer.from([0xff]), Buffer.alloc(4097, 'x')]) {
    t.match(decodeMetaContextQuery(metaPayload(bytes)), { problem: /name/ })
    t.match(decodeMetaContextQuery(metaPayload('disk', ['ok', bytes])), { problem: /query 2/ })
  }
})

void t.test('meta context reply - golden bytes', async (t) => {
  t.equal(encodeMetaContextReply(1, 'base:x').toString('hex'), '00000001' + '626173653a78')
  t.equal(encodeMetaContextReply(0xffffffff, '').toString('hex'), 'ffffffff')
})
