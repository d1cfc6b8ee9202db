import t from 'tap'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_OPT_LIST,
  NBD_OPT_LIST_META_CONTEXT,
  NBD_OPT_SET_META_CONTEXT,
  NBD_REP_ERR_INVALID,
  NBD_REP_ERR_TOO_BIG
} from '../helpers/raw-constants.ts'
import { lengthAndText, metaPayload, u32 } from '../helpers/raw-wire.ts'

const server = await Mqnbd.serve(t, ['memory:1M', '-x', 'disk'])
const name = lengthAndText('disk')
const query = 'base:allocation'

const malformed: Record<string, Buffer> = {
  'R2 - a name length of 0xffffffff': Buffer.concat([lengthAndText('disk', 0xffffffff), u32(0)]),
  'R2 - a name length of 0x80000000': Buffer.concat([lengthAndText('disk', 0x80000000), u32(0)]),
  'R2 - a name length one too many': Buffer.concat([lengthAndText('disk', 5), u32(0)]),
  'R2 - a name length one too few': Buffer.concat([lengthAndText('disk', 3), u32(0)]),
  'R2 - a name that fills the payload': lengthAndText('disk'),
  'R2 - a query length of 0xffffffff': Buffer.concat([name, u32(1), lengthAndText(query, 0xffffffff)]),
  'R2 - a query length one too many': Buffer.concat([name, u32(1), lengthAndText(query, query.length + 1)]),
  'R2 - a query length one too few': Buffer.concat([name, u32(1), lengthAndText(query, query.length - 1)]),
  'R3 - fewer queries than announced': metaPayload('disk', [query], 2),
  'R3 - 0xffffffff queries announced': metaPayload('disk', [query], 0xffffffff),
  'R3 - 0x40000000 queries announced': metaPayload('disk', [query], 0x40000000),
  'R3 - more queries than announced': metaPayload('disk', [query, query], 1),
  'R3 - queries, but none announced': metaPayload('disk', [query], 0),
  'R3 - a byte behind the last query': Buffer.concat([metaPayload('disk', [query]), Buffer.alloc(1)])
}

for (const [what, payload] of Object.entries(malformed)) {
  void t.test(
    `${what} is invalid to LIST_ and SET_META_CONTEXT, and the connection is in step`,
    async (t) => {
      const client = await RawClient.negotiate(t, server)
      await client.negotiateStructured()
      for (const number of [NBD_OPT_LIST_META_CONTEXT, NBD_OPT_SET_META_CONTEXT]) {
        t.equal(await client.askOnce(number, payload), NBD_REP_ERR_INVALID, `option ${number}`)
      }
      t.equal((await client.ask(NBD_OPT_LIST)).length, 2)
    }
  )
}

void t.test('R3 - a payload that is cut short anywhere is invalid', async (t) => {
  const client = await RawClient.negotiate(t, server)
  await client.negotiateStructured()
  const whole = metaPayload('disk', [query, 'x'])
  for (let length = 0; length < whole.length; length++) {
    for (const number of [NBD_OPT_LIST_META_CONTEXT, NBD_OPT_SET_META_CONTEXT]) {
      const type = await client.askOnce(number, whole.subarray(0, length))
      t.equal(type, NBD_REP_ERR_INVALID, `option ${number}, ${length} bytes`)
    }
  }
})

void t.test(
  'META_CONTEXT - more queries than the server looks at get TOO_BIG; 1024 are looked at',
  async (t) => {
    const client = await RawClient.negotiate(t, server)
    await client.negotiateStructured()
    for (const number of [NBD_OPT_LIST_META_CONTEXT, NBD_OPT_SET_META_CONTEXT]) {
      const many = metaPayload('disk', Array<string>(1025).fill('x-a:b'))
      t.equal(await client.askOnce(number, many), NBD_REP_ERR_TOO_BIG)
      const large = metaPayload('disk', Array<string>(100).fill('x-a:' + 'b'.repeat(4000)))
      t.equal(await client.askOnce(number, large), NBD_REP_ERR_TOO_BIG)
      const most = metaPayload('disk', [...Array<string>(1023).fill('x-a:b'), query])
      t.equal((await client.ask(number, most)).length, 2)
    }
  }
)
