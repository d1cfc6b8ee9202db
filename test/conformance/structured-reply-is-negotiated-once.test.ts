import t from 'tap'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_CMD_READ,
  NBD_OPT_LIST,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_ERR_INVALID
} from '../helpers/raw-constants.ts'

const server = await Mqnbd.serve(t, ['memory:1M'])

void t.test('STRUCTURED_REPLY - is acknowledged, and a second one is invalid', async (t) => {
  const client = await RawClient.negotiate(t, server)
  t.equal(await client.askOnce(NBD_OPT_STRUCTURED_REPLY), NBD_REP_ACK)
  t.equal(await client.askOnce(NBD_OPT_STRUCTURED_REPLY), NBD_REP_ERR_INVALID)
  client.structured = true
  await client.go('')
  t.ok((await client.call({ type: NBD_CMD_READ, length: 1 })).chunks.length > 0, 'and the first one holds')
})

void t.test('STRUCTURED_REPLY - with a payload is invalid and changes nothing', async (t) => {
  const client = await RawClient.negotiate(t, server)
  for (const length of [1, 8, 65536]) {
    t.equal(await client.askOnce(NBD_OPT_STRUCTURED_REPLY, Buffer.alloc(length)), NBD_REP_ERR_INVALID)
  }
  t.equal((await client.ask(NBD_OPT_LIST)).length, 2)
  await client.go('')
  t.equal((await client.call({ type: NBD_CMD_READ, length: 1 })).chunks.length, 0)
})
