import t from 'tap'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_CMD_READ,
  NBD_FLAG_CAN_MULTI_CONN,
  NBD_FLAG_HAS_FLAGS,
  NBD_FLAG_READ_ONLY,
  NBD_FLAG_SEND_CACHE,
  NBD_FLAG_SEND_DF,
  NBD_FLAG_SEND_FAST_ZERO,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_FUA,
  NBD_FLAG_SEND_TRIM,
  NBD_FLAG_SEND_WRITE_ZEROES,
  NBD_INFO_BLOCK_SIZE,
  NBD_INFO_DESCRIPTION,
  NBD_INFO_EXPORT,
  NBD_INFO_NAME,
  NBD_OPT_GO,
  NBD_OPT_INFO,
  NBD_OPT_LIST,
  NBD_REP_ERR_UNKNOWN
} from '../helpers/raw-constants.ts'
import { infoPayload, MiB } from '../helpers/raw-wire.ts'

const ALL = [NBD_INFO_BLOCK_SIZE, NBD_INFO_DESCRIPTION, NBD_INFO_NAME, NBD_INFO_EXPORT]
const COMMON = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_CACHE
const WRITABLE = NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_SEND_FAST_ZERO

const server = await Mqnbd.serve(t, ['memory:5M', '-x', 'disk', '-D', 'a disk'])

void t.test('GO - gives every information that the specification knows', async (t) => {
  const client = await RawClient.negotiate(t, server)
  const { size, flags, infos } = await client.go('disk', ALL)
  t.equal(size, BigInt(5 * MiB))
  t.equal(flags, COMMON | WRITABLE | NBD_FLAG_CAN_MULTI_CONN)
  t.equal(infos.get(NBD_INFO_NAME)?.toString(), 'disk')
  t.equal(infos.get(NBD_INFO_DESCRIPTION)?.toString(), 'a disk')
  const sizes = infos.get(NBD_INFO_BLOCK_SIZE)!
  t.equal(sizes.length, 12)
  t.strictSame([sizes.readUInt32BE(0), sizes.readUInt32BE(4), sizes.readUInt32BE(8)], [1, 4096, 32 * MiB])
  t.equal((await client.call({ type: NBD_CMD_READ, length: 1 })).data.length, 1)
})

void t.test(
  'GO - gives NBD_INFO_EXPORT also when nothing, or only something unknown, is asked for',
  async (t) => {
    for (const infos of [[], [4], [0xffff, 0x1234], [NBD_INFO_NAME]]) {
      const client = await RawClient.negotiate(t, server)
      const told = await client.go('disk', infos)
      t.equal(told.size, BigInt(5 * MiB), `asked for ${infos.join()}`)
      t.notOk([...told.infos.keys()].some((info) => info > NBD_INFO_BLOCK_SIZE))
    }
  }
)

void t.test(
  'GO - the empty name is the only export, and NBD_INFO_NAME tells what that is called',
  async (t) => {
    const client = await RawClient.negotiate(t, server)
    t.equal((await client.go('', [NBD_INFO_NAME])).infos.get(NBD_INFO_NAME)?.toString(), 'disk')
  }
)

void t.test(
  'GO - an unknown name gets ERR_UNKNOWN and no information, and negotiation goes on',
  async (t) => {
    const client = await RawClient.negotiate(t, server)
    for (const name of ['disk2', 'dis', 'DISK', ' disk', 'x'.repeat(4096)]) {
      t.equal(await client.askOnce(NBD_OPT_INFO, infoPayload(name, ALL)), NBD_REP_ERR_UNKNOWN)
      t.equal(await client.askOnce(NBD_OPT_GO, infoPayload(name, ALL)), NBD_REP_ERR_UNKNOWN)
    }
    t.equal((await client.go('disk')).size, BigInt(5 * MiB))
  }
)

void t.test('GO - a failed one does not serve what an INFO before it found', async (t) => {
  const client = await RawClient.negotiate(t, server)
  await client.go('disk', [], NBD_OPT_INFO)
  t.equal(await client.askOnce(NBD_OPT_GO, infoPayload('other')), NBD_REP_ERR_UNKNOWN)
  t.equal((await client.ask(NBD_OPT_LIST)).length, 2, 'still negotiating')
})

void t.test('INFO - answers as GO does, with and without structured replies', async (t) => {
  for (const structured of [false, true]) {
    for (const infos of [[], ALL, [NBD_INFO_DESCRIPTION]]) {
      const client = await RawClient.negotiate(t, server)
      if (structured) await client.negotiateStructured()
      t.strictSame(await client.go('disk', infos, NBD_OPT_INFO), await client.go('disk', infos))
    }
  }
})

void t.test('transmission flags - DF only with structured replies; no writes when read-only', async (t) => {
  const readOnly = await Mqnbd.serve(t, ['memory:5M', '-r', '-e', '1'])
  const client = await RawClient.negotiate(t, readOnly)
  t.equal((await client.go('', [], NBD_OPT_INFO)).flags, COMMON | NBD_FLAG_READ_ONLY)
  await client.negotiateStructured()
  t.equal((await client.go('')).flags, COMMON | NBD_FLAG_READ_ONLY | NBD_FLAG_SEND_DF)
})
