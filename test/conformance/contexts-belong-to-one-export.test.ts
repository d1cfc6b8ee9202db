import t from 'tap'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_EINVAL,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_GO,
  NBD_OPT_INFO,
  NBD_REP_ERR_UNKNOWN
} from '../helpers/raw-constants.ts'
import { infoPayload, option } from '../helpers/raw-wire.ts'
import { serveImages } from '../helpers/raw-server.ts'

const status = { type: NBD_CMD_BLOCK_STATUS, length: 512 }

void t.test('R6 - contexts that were chosen for one export are void when GO chooses another', async (t) => {
  const server = await serveImages(t, { a: 'memory:1M', b: 'memory:1M' })
  for (const [chosen, used, error] of [
    ['a', 'a', 0],
    ['b', 'b', 0],
    ['a', 'b', NBD_EINVAL],
    ['b', 'a', NBD_EINVAL]
  ] as const) {
    for (const old of [false, true]) {
      const client = await RawClient.negotiate(t, server)
      await client.negotiateStructured()
      await client.setMeta(chosen, ['base:allocation'])
      if (old) {
        client.send(option(NBD_OPT_EXPORT_NAME, Buffer.from(used)))
        await client.read(10)
      } else {
        await client.go(used)
      }
      t.equal((await client.call(status)).error, error, `${chosen}, ${old ? 'EXPORT_NAME' : 'GO'} ${used}`)
    }
  }
})

void t.test(
  'R6 - an INFO, or a GO that fails, between SET_META_CONTEXT and GO changes nothing',
  async (t) => {
    const server = await serveImages(t, { a: 'memory:1M', b: 'memory:1M' })
    const client = await RawClient.negotiate(t, server)
    await client.negotiateStructured()
    await client.setMeta('a', ['base:allocation'])
    await client.go('b', [], NBD_OPT_INFO)
    t.equal(await client.askOnce(NBD_OPT_GO, infoPayload('c')), NBD_REP_ERR_UNKNOWN)
    await client.go('a')
    t.equal((await client.call(status)).error, 0)
  }
)

void t.test('default export - with two exports the empty name means neither', async (t) => {
  const client = await RawClient.negotiate(t, await serveImages(t, { a: 'memory:1M', b: 'memory:1M' }))
  t.equal(await client.askOnce(NBD_OPT_GO, infoPayload('')), NBD_REP_ERR_UNKNOWN)
})

void t.test('default export - it is the one whose name is empty, if there is one', async (t) => {
  const client = await RawClient.negotiate(t, await serveImages(t, { '': 'memory:1M', b: 'memory:1M' }))
  await client.negotiateStructured()
  await client.setMeta('', ['base:allocation'])
  await client.go('')
  t.equal((await client.call(status)).error, 0)
})
