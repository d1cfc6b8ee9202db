import t from 'tap'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_CMD_READ,
  NBD_OPT_INFO,
  NBD_OPT_LIST,
  NBD_OPT_STARTTLS,
  NBD_REP_ERR_POLICY,
  NBD_REP_ERR_UNKNOWN
} from '../helpers/raw-constants.ts'
import { infoPayload } from '../helpers/raw-wire.ts'
import { needs, serveTls } from '../helpers/tls-server.ts'

void t.test('R11 - SELECTIVETLS', needs, async (t) => {
  const { server, client: options } = await serveTls(t, '--tls', 'on')

  await t.test('a client without TLS is served, and never told that it needs it', async (t) => {
    const client = await RawClient.negotiate(t, server)
    t.equal((await client.ask(NBD_OPT_LIST)).length, 2)
    t.equal(await client.askOnce(NBD_OPT_INFO, infoPayload('no such export')), NBD_REP_ERR_UNKNOWN)
    await client.go('')
    t.equal((await client.call({ type: NBD_CMD_READ, length: 512 })).data.length, 512)
  })

  await t.test('a client may begin TLS at any time before', async (t) => {
    const client = await RawClient.negotiate(t, server)
    t.equal((await client.ask(NBD_OPT_LIST)).length, 2)
    await client.go('', [], NBD_OPT_INFO)
    await client.startTls(options)
    t.equal((await client.ask(NBD_OPT_LIST)).length, 2)
  })
})

void t.test('R10 - NOTLS: STARTTLS is refused by POLICY, and the negotiation goes on', needs, async (t) => {
  for (const server of [await Mqnbd.serve(t, ['memory:1M']), (await serveTls(t, '--tls', 'off')).server]) {
    const client = await RawClient.negotiate(t, server)
    for (const length of [0, 5]) {
      t.equal(await client.askOnce(NBD_OPT_STARTTLS, Buffer.alloc(length)), NBD_REP_ERR_POLICY)
    }
    t.equal((await client.ask(NBD_OPT_LIST)).length, 2)
  }
})
