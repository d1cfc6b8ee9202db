import t from 'tap'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_OPT_LIST_META_CONTEXT,
  NBD_REP_ACK,
  NBD_REP_ERR_UNKNOWN,
  NBD_REP_META_CONTEXT
} from '../helpers/raw-constants.ts'
import { metaPayload, u32 } from '../helpers/raw-wire.ts'

const server = await Mqnbd.serve(t, ['memory:1M', '-x', 'disk'])
const allocation = {
  type: NBD_REP_META_CONTEXT,
  payload: Buffer.concat([u32(0), Buffer.from('base:allocation')])
}
const ack = { type: NBD_REP_ACK, payload: Buffer.alloc(0) }

const cases: [string, string[], boolean][] = [
  ['no query lists every context', [], true],
  ['the wildcard base: lists base:allocation', ['base:'], true],
  ['the whole name lists it', ['base:allocation'], true],
  ['a context that two queries name is listed once', ['base:', 'base:allocation', 'base:allocation'], true],
  ['an unknown namespace is ignored', ['x-other:', 'qemu:dirty-bitmap:b', 'nbd-server:'], false],
  [
    'an unknown leaf is ignored',
    ['base:alloc', 'base:allocation2', 'base:Allocation', 'base:allocation:'],
    false
  ],
  ['a known query among unknown ones is answered', ['x-a:b', 'base:allocation', 'x-c:'], true]
]

for (const [what, queries, found] of cases) {
  void t.test(`LIST_META_CONTEXT - ${what}`, async (t) => {
    for (const structured of [true, false]) {
      const client = await RawClient.negotiate(t, server)
      if (structured) await client.negotiateStructured()
      const replies = await client.ask(NBD_OPT_LIST_META_CONTEXT, metaPayload('disk', queries))
      t.strictSame(replies, found ? [allocation, ack] : [ack], structured ? 'structured' : 'simple')
    }
  })
}

void t.test(
  'LIST_META_CONTEXT - a query without a namespace selects nothing and breaks nothing',
  async (t) => {
    const client = await RawClient.negotiate(t, server)
    for (const query of ['', ':', 'base', 'allocation', ':allocation']) {
      const replies = await client.ask(NBD_OPT_LIST_META_CONTEXT, metaPayload('disk', [query]))
      t.equal(replies.length, 1, `'${query}'`)
    }
    t.equal((await client.ask(NBD_OPT_LIST_META_CONTEXT, metaPayload('disk'))).length, 2)
  }
)

void t.test(
  'LIST_META_CONTEXT - the empty name is the only export; an unknown one is ERR_UNKNOWN',
  async (t) => {
    const client = await RawClient.negotiate(t, server)
    t.equal((await client.ask(NBD_OPT_LIST_META_CONTEXT, metaPayload(''))).length, 2)
    t.equal(await client.askOnce(NBD_OPT_LIST_META_CONTEXT, metaPayload('other')), NBD_REP_ERR_UNKNOWN)
  }
)
