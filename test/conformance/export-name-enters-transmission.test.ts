import t from 'tap'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import { NBD_CMD_READ, NBD_OPT_EXPORT_NAME, NBD_OPT_GO } from '../helpers/raw-constants.ts'
import { infoPayload, MiB, option } from '../helpers/raw-wire.ts'

const server = await Mqnbd.serve(t, ['memory:3M', '-x', 'disk'])
const NO_ZEROES = 3
const ZEROES = 1

void t.test('EXPORT_NAME - answers size, flags and 124 zeroes, and then transmission begins', async (t) => {
  const client = await RawClient.connect(t, server)
  await client.handshake(ZEROES)
  client.send(option(NBD_OPT_EXPORT_NAME, Buffer.from('disk')))
  const answer = await client.read(8 + 2 + 124)
  t.equal(answer.readBigUInt64BE(0), BigInt(3 * MiB))
  t.ok(answer.subarray(10).equals(Buffer.alloc(124)))
  t.equal((await client.call({ type: NBD_CMD_READ, length: 10 })).data.length, 10)
})

void t.test('EXPORT_NAME - leaves the zeroes out when the client said NO_ZEROES', async (t) => {
  const client = await RawClient.connect(t, server)
  await client.handshake(NO_ZEROES)
  client.send(option(NBD_OPT_EXPORT_NAME, Buffer.from('disk')))
  t.equal((await client.read(10)).readBigUInt64BE(0), BigInt(3 * MiB))
  t.equal((await client.call({ type: NBD_CMD_READ, length: 10 })).data.length, 10)
})

void t.test('EXPORT_NAME - tells the same flags as GO, with and without structured replies', async (t) => {
  for (const structured of [false, true]) {
    const [old, go] = [await RawClient.negotiate(t, server), await RawClient.negotiate(t, server)]
    if (structured) await Promise.all([old.negotiateStructured(), go.negotiateStructured()])
    old.send(option(NBD_OPT_EXPORT_NAME, Buffer.from('disk')))
    t.equal((await old.read(10)).readUInt16BE(8), (await go.go('disk')).flags)
    const reply = await old.call({ type: NBD_CMD_READ, length: 1 })
    t.equal(reply.chunks.length > 0, structured)
  }
})

void t.test('GO - never sends the 124 zeroes, also to a client that wants them elsewhere', async (t) => {
  const client = await RawClient.connect(t, server)
  await client.handshake(ZEROES)
  client.send(option(NBD_OPT_GO, infoPayload('disk')))
  await client.optionReplies(NBD_OPT_GO)
  t.equal((await client.call({ type: NBD_CMD_READ, length: 10 })).data.length, 10)
})

void t.test('EXPORT_NAME - the empty name is the only export', async (t) => {
  const client = await RawClient.negotiate(t, server)
  client.send(option(NBD_OPT_EXPORT_NAME))
  t.equal((await client.read(10)).readBigUInt64BE(0), BigInt(3 * MiB))
})

void t.test('EXPORT_NAME - an unknown or impossible name ends the connection without a byte', async (t) => {
  const names = {
    unknown: 'disk2',
    prefix: 'dis',
    NUL: 'disk\0',
    'not UTF-8': '\xff',
    long: 'x'.repeat(4097)
  }
  for (const [what, name] of Object.entries(names)) {
    const client = await RawClient.negotiate(t, server)
    client.send(option(NBD_OPT_EXPORT_NAME, Buffer.from(name, 'latin1')))
    t.equal((await client.closed()).length, 0, what)
  }
})

void t.test('EXPORT_NAME - a name of 1 MiB ends the connection', async (t) => {
  const client = await RawClient.negotiate(t, server)
  client.send(option(NBD_OPT_EXPORT_NAME, Buffer.alloc(MiB, 'x')))
  t.equal((await client.closed()).length, 0)
})
