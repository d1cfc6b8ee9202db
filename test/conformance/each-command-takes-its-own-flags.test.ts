import t from 'tap'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_CACHE,
  NBD_CMD_FLAG_DF,
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_EINVAL
} from '../helpers/raw-constants.ts'
import type { RawRequest } from '../helpers/raw-wire.ts'

const server = await Mqnbd.serve(t, ['memory:1M'])
const readOnly = await Mqnbd.serve(t, ['memory:1M', '-r'])

const commands: Record<string, { request: RawRequest; flags: number }> = {
  READ: { request: { type: NBD_CMD_READ, length: 512 }, flags: NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_DF },
  WRITE: { request: { type: NBD_CMD_WRITE, payload: Buffer.alloc(512, 1) }, flags: NBD_CMD_FLAG_FUA },
  FLUSH: { request: { type: NBD_CMD_FLUSH }, flags: NBD_CMD_FLAG_FUA },
  TRIM: { request: { type: NBD_CMD_TRIM, length: 512 }, flags: NBD_CMD_FLAG_FUA },
  CACHE: { request: { type: NBD_CMD_CACHE, length: 512 }, flags: NBD_CMD_FLAG_FUA },
  WRITE_ZEROES: {
    request: { type: NBD_CMD_WRITE_ZEROES, length: 512 },
    flags: NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO
  },
  BLOCK_STATUS: {
    request: { type: NBD_CMD_BLOCK_STATUS, length: 512 },
    flags: NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_REQ_ONE
  }
}

for (const [name, { request, flags: legal }] of Object.entries(commands)) {
  void t.test(`flags - ${name} takes its own, and every other bit is EINVAL and harms nothing`, async (t) => {
    const client = await RawClient.transmit(t, server, { meta: ['base:allocation'] })
    for (let bit = 0; bit < 16; bit++) {
      const flags = 1 << bit
      const { error, message } = await client.call({ ...request, flags, cookie: BigInt(bit) })
      t.equal(error, (flags & legal) !== 0 ? 0 : NBD_EINVAL, `bit ${bit}: ${message}`)
    }
    t.equal((await client.call({ ...request, flags: legal })).error, 0, 'all legal flags together')
    t.equal((await client.call({ ...request, flags: 0xffff })).error, NBD_EINVAL, 'all flags together')
    t.equal((await client.call(request)).error, 0, 'and none')
  })
}

void t.test('R31 - FUA is taken on every command, also by a simple connection', async (t) => {
  const client = await RawClient.transmit(t, server)
  for (const [name, { request }] of Object.entries(commands)) {
    const { error } = await client.call({ ...request, flags: NBD_CMD_FLAG_FUA })
    t.equal(error, name === 'BLOCK_STATUS' ? NBD_EINVAL : 0, name)
  }
})

void t.test('R31 - FUA is taken on what a read-only export can do', async (t) => {
  const client = await RawClient.transmit(t, readOnly, { meta: ['base:allocation'] })
  for (const name of ['READ', 'FLUSH', 'CACHE', 'BLOCK_STATUS']) {
    t.equal((await client.call({ ...commands[name]!.request, flags: NBD_CMD_FLAG_FUA })).error, 0, name)
  }
})

void t.test('DF - without structured replies is EINVAL, since it was not advertised', async (t) => {
  const client = await RawClient.transmit(t, server)
  t.equal((await client.call({ type: NBD_CMD_READ, flags: NBD_CMD_FLAG_DF, length: 1 })).error, NBD_EINVAL)
  t.equal((await client.call({ type: NBD_CMD_READ, length: 1 })).error, 0)
})

void t.test('flags - a WRITE with a wrong flag has its payload consumed and writes nothing', async (t) => {
  const client = await RawClient.transmit(t, server)
  for (const length of [1, 512, 65536, 300_000]) {
    await client.call({ type: NBD_CMD_WRITE, payload: Buffer.alloc(length, 0x11) })
    const payload = Buffer.alloc(length, 0x25)
    t.equal((await client.call({ type: NBD_CMD_WRITE, flags: NBD_CMD_FLAG_DF, payload })).error, NBD_EINVAL)
    const { data } = await client.call({ type: NBD_CMD_READ, length })
    t.ok(data.equals(Buffer.alloc(length, 0x11)), `${length} bytes`)
  }
})
