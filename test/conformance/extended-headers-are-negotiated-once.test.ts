import t from 'tap'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_FLAG_SEND_DF,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_EXTENDED_HEADERS,
  NBD_OPT_INFO,
  NBD_OPT_LIST,
  NBD_OPT_LIST_META_CONTEXT,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_ERR_EXT_HEADER_REQD,
  NBD_REP_ERR_INVALID
} from '../helpers/raw-constants.ts'
import { option, request } from '../helpers/raw-wire.ts'

const server = await Mqnbd.serve(t, ['memory:1M'])
const READ = { type: NBD_CMD_READ, length: 1 }

void t.test('EXTENDED_HEADERS - is acknowledged, and a second one is invalid', async (t) => {
  const client = await RawClient.negotiate(t, server)
  t.equal(await client.askOnce(NBD_OPT_EXTENDED_HEADERS), NBD_REP_ACK)
  t.equal(await client.askOnce(NBD_OPT_EXTENDED_HEADERS), NBD_REP_ERR_INVALID)
  client.extended = true
  await client.go('')
  t.ok((await client.call(READ)).chunks[0]?.requestOffset !== undefined, 'and the first one holds')
})

void t.test('EXTENDED_HEADERS - with a payload is invalid and changes nothing', async (t) => {
  const client = await RawClient.negotiate(t, server)
  for (const length of [1, 8, 65536])
    t.equal(await client.askOnce(NBD_OPT_EXTENDED_HEADERS, Buffer.alloc(length)), NBD_REP_ERR_INVALID)
  t.equal((await client.ask(NBD_OPT_LIST)).length, 2)
  await client.go('')
  t.equal((await client.call(READ)).chunks.length, 0)
})

void t.test('STRUCTURED_REPLY - may come before, and not after, where it changes nothing', async (t) => {
  const client = await RawClient.negotiate(t, server)
  await client.negotiateStructured()
  await client.negotiateExtended()
  t.equal(await client.askOnce(NBD_OPT_STRUCTURED_REPLY), NBD_REP_ERR_EXT_HEADER_REQD)
  t.equal(
    await client.askOnce(NBD_OPT_STRUCTURED_REPLY, Buffer.alloc(1)),
    NBD_REP_ERR_INVALID,
    'with a payload it is invalid, as ever'
  )
  await client.go('')
  t.ok((await client.call(READ)).chunks[0]?.requestOffset !== undefined)
})

void t.test('extended headers - bring what structured replies bring: DF, and contexts', async (t) => {
  const client = await RawClient.negotiate(t, server)
  await client.negotiateExtended()
  t.ok((await client.go('', [], NBD_OPT_INFO)).flags & NBD_FLAG_SEND_DF)
  t.strictSame([...(await client.setMeta('', [], NBD_OPT_LIST_META_CONTEXT)).keys()], ['base:allocation'])
  t.strictSame([...(await client.setMeta('', ['base:allocation'])).keys()], ['base:allocation'])
  t.ok((await client.go('')).flags & NBD_FLAG_SEND_DF)
})

void t.test('extended headers - contexts that were chosen before hold on', async (t) => {
  const client = await RawClient.negotiate(t, server)
  await client.negotiateStructured()
  const [id] = (await client.setMeta('', ['base:allocation'])).values()
  await client.negotiateExtended()
  await client.go('')
  const { error, extents } = await client.call({ type: 7, length: 4096 })
  t.equal(error, 0)
  t.strictSame([...extents.keys()], [id])
})

void t.test('extended headers - EXPORT_NAME behind it ends the connection', async (t) => {
  const client = await RawClient.negotiate(t, server)
  await client.negotiateExtended()
  client.send(option(NBD_OPT_EXPORT_NAME))
  t.equal((await client.closed()).length, 0)
})

void t.test('R41 - each form of requests ends the connection where the other was negotiated', async (t) => {
  const extended = await RawClient.transmit(t, server, { extended: true })
  extended.send(request({ type: NBD_CMD_FLUSH }), Buffer.alloc(4))
  t.equal((await extended.closed()).length, 0)
  for (const structured of [false, true]) {
    const compact = await RawClient.transmit(t, server, { structured })
    compact.send(request({ type: NBD_CMD_FLUSH, magic: 0x21e41c71 }), Buffer.alloc(4))
    t.equal((await compact.closed()).length, 0)
  }
})
