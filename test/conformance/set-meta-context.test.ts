import t, { type Test } from 'tap'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_EINVAL,
  NBD_OPT_LIST_META_CONTEXT,
  NBD_OPT_SET_META_CONTEXT,
  NBD_REP_ACK,
  NBD_REP_ERR_INVALID,
  NBD_REP_ERR_UNKNOWN
} from '../helpers/raw-constants.ts'
import { lengthAndText, metaPayload, u32 } from '../helpers/raw-wire.ts'

const server = await Mqnbd.serve(t, ['memory:1M', '-x', 'disk'])

/** What BLOCK_STATUS says when the negotiation `client` has come through ends here. */
async function statusError(client: RawClient): Promise<number> {
  await client.go('disk')
  return (await client.call({ type: NBD_CMD_BLOCK_STATUS, length: 512 })).error
}

async function structured(t: Test): Promise<RawClient> {
  const client = await RawClient.negotiate(t, server)
  await client.negotiateStructured()
  return client
}

void t.test('SET_META_CONTEXT - selects base:allocation by its whole name, once', async (t) => {
  const client = await structured(t)
  const contexts = await client.setMeta('disk', ['x-other:a', 'base:allocation', 'base:allocation', 'base:'])
  t.strictSame([...contexts.keys()], ['base:allocation'])
  await client.go('disk')
  const reply = await client.call({ type: NBD_CMD_BLOCK_STATUS, length: 512 })
  t.strictSame([...reply.extents.keys()], [...contexts.values()])
})

void t.test('SET_META_CONTEXT - no query, a wildcard and unknown names select nothing', async (t) => {
  for (const queries of [
    [],
    ['base:'],
    ['x-other:'],
    ['base:alloc', 'base:allocation2'],
    ['', ':', 'base']
  ]) {
    const client = await structured(t)
    t.equal((await client.setMeta('disk', queries)).size, 0, queries.join())
    t.equal(await statusError(client), NBD_EINVAL, queries.join())
  }
})

void t.test('SET_META_CONTEXT - without structured replies is invalid', async (t) => {
  const client = await RawClient.negotiate(t, server)
  const payload = metaPayload('disk', ['base:allocation'])
  t.equal(await client.askOnce(NBD_OPT_SET_META_CONTEXT, payload), NBD_REP_ERR_INVALID)
  await client.negotiateStructured()
  t.equal(await statusError(client), NBD_EINVAL, 'and what it asked for is not selected later')
})

const failing: Record<string, [Buffer, number]> = {
  malformed: [Buffer.alloc(3), NBD_REP_ERR_INVALID],
  'for an unknown export': [metaPayload('other', ['base:allocation']), NBD_REP_ERR_UNKNOWN],
  'with trailing bytes': [Buffer.concat([metaPayload('disk', []), Buffer.alloc(1)]), NBD_REP_ERR_INVALID],
  'with a broken query behind a good one': [
    Buffer.concat([lengthAndText('disk'), u32(2), lengthAndText('base:allocation'), lengthAndText('x', 2)]),
    NBD_REP_ERR_INVALID
  ]
}
for (const [what, [payload, error]] of Object.entries(failing)) {
  void t.test(`R5 - a SET_META_CONTEXT that fails (${what}) clears the earlier choice`, async (t) => {
    const client = await structured(t)
    await client.setMeta('disk', ['base:allocation'])
    t.equal(await client.askOnce(NBD_OPT_SET_META_CONTEXT, payload), error)
    t.equal(await statusError(client), NBD_EINVAL)
  })
}

for (const [what, payload] of Object.entries({
  'too many queries': metaPayload('disk', Array<string>(1025).fill('base:')),
  'a payload beyond 64 KiB': metaPayload('disk', Array<string>(40).fill('x'.repeat(4000))),
  'a payload of 1 MiB': metaPayload('disk', Array<string>(300).fill('x'.repeat(4000)))
})) {
  void t.test(`R5 - a SET_META_CONTEXT that is refused for its size (${what}) clears it, too`, async (t) => {
    const client = await structured(t)
    await client.setMeta('disk', ['base:allocation'])
    t.ok((await client.askOnce(NBD_OPT_SET_META_CONTEXT, payload)) >= 0x80000000)
    t.equal(await statusError(client), NBD_EINVAL)
  })
}

void t.test('R5 - a SET_META_CONTEXT that selects nothing replaces the earlier choice', async (t) => {
  const client = await structured(t)
  await client.setMeta('disk', ['base:allocation'])
  t.equal((await client.setMeta('disk', [])).size, 0)
  t.equal(await statusError(client), NBD_EINVAL)
})

void t.test(
  'SET_META_CONTEXT - LIST_META_CONTEXT behind it changes nothing, also when it fails',
  async (t) => {
    const client = await structured(t)
    await client.setMeta('disk', ['base:allocation'])
    t.equal(
      (await client.ask(NBD_OPT_LIST_META_CONTEXT, metaPayload('disk', ['x-a:']))).at(-1)!.type,
      NBD_REP_ACK
    )
    t.equal(await client.askOnce(NBD_OPT_LIST_META_CONTEXT, Buffer.alloc(1)), NBD_REP_ERR_INVALID)
    t.equal(await statusError(client), 0)
  }
)
