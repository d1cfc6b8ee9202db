import t from 'tap'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import { NBD_OPT_ABORT, NBD_REP_ACK } from '../helpers/raw-constants.ts'
import { MiB, option } from '../helpers/raw-wire.ts'

const server = await Mqnbd.serve(t, ['memory:1M'])

void t.test('R16 - ABORT is acknowledged, and the server closes the connection', async (t) => {
  const client = await RawClient.negotiate(t, server)
  const replies = await client.ask(NBD_OPT_ABORT)
  t.strictSame(replies, [{ type: NBD_REP_ACK, payload: Buffer.alloc(0) }])
  t.equal((await client.closed()).length, 0)
})

void t.test('ABORT - data that comes with it is ignored, whatever its size', async (t) => {
  for (const length of [1, 64 * 1024, 64 * 1024 + 1, MiB]) {
    const client = await RawClient.negotiate(t, server)
    t.equal(await client.askOnce(NBD_OPT_ABORT, Buffer.alloc(length, 7)), NBD_REP_ACK, `${length} bytes`)
    t.equal((await client.closed()).length, 0)
  }
})

void t.test('ABORT - what is sent behind it is not looked at', async (t) => {
  const client = await RawClient.negotiate(t, server)
  client.send(Buffer.concat([option(NBD_OPT_ABORT), option(NBD_OPT_ABORT), Buffer.from('rubbish')]))
  t.equal((await client.optionReply(NBD_OPT_ABORT)).type, NBD_REP_ACK)
  t.equal((await client.closed()).length, 0)
})

void t.test('ABORT - a client that goes without waiting for the answer harms nobody', async (t) => {
  for (let i = 0; i < 20; i++) {
    const client = await RawClient.negotiate(t, server)
    await client.sent(option(NBD_OPT_ABORT))
    client.socket.destroy()
  }
  t.equal(await (await RawClient.negotiate(t, server)).askOnce(NBD_OPT_ABORT), NBD_REP_ACK)
})
