import t from 'tap'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_CACHE,
  NBD_CMD_DISC,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_PAYLOAD_LEN,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_EINVAL,
  NBD_ENOSPC,
  NBD_FLAG_BLOCK_STATUS_PAYLOAD
} from '../helpers/raw-constants.ts'
import { extendedRequest, MiB } from '../helpers/raw-wire.ts'

const server = await Mqnbd.serve(t, ['memory:64M'])
const flags = NBD_CMD_FLAG_PAYLOAD_LEN
const payload = Buffer.alloc(4096, 7)
const first = { type: NBD_CMD_READ, length: 1 }

void t.test('R42 - WRITE with the flag writes its payload, in whatever pieces it comes', async (t) => {
  const client = await RawClient.transmit(t, server, { extended: true })
  for (const [i, length] of [0, 1, 4096, 300_000, 32 * MiB].entries()) {
    const data = Buffer.alloc(length, i + 1)
    const asked = { type: NBD_CMD_WRITE, flags: flags | NBD_CMD_FLAG_FUA, offset: 8, payload: data }
    const bytes = extendedRequest(asked)
    for (const at of [1, 31, 32, bytes.length - 1].filter((at) => at < bytes.length)) {
      await client.sent(bytes.subarray(0, at))
      client.send(bytes.subarray(at))
      t.equal((await client.reply(asked)).error, 0)
    }
    const { data: read } = await client.call({ type: NBD_CMD_READ, offset: 8, length })
    t.ok(read.equals(data), `${length} bytes`)
  }
})

// The client must set it, and QEMU's does not.
void t.test('R42 - WRITE without the flag has its payload all the same', async (t) => {
  const client = await RawClient.transmit(t, server, { extended: true })
  for (const length of [0, 1, 512, MiB]) {
    const asked = { type: NBD_CMD_WRITE, payload: Buffer.alloc(length, length % 251) }
    client.send(extendedRequest(asked))
    t.equal((await client.reply(asked)).error, 0)
    const { data } = await client.call({ type: NBD_CMD_READ, length })
    t.ok(data.equals(asked.payload), 'and the next request is in step')
  }
  const refused = { type: NBD_CMD_WRITE, offset: 64 * MiB, payload: extendedRequest({ type: NBD_CMD_DISC }) }
  client.send(extendedRequest(refused))
  t.equal((await client.reply(refused)).error, NBD_ENOSPC)
  t.equal((await client.call(first)).error, 0, 'what was to be written is no request')
})

for (const type of [NBD_CMD_READ, NBD_CMD_FLUSH, NBD_CMD_TRIM, NBD_CMD_CACHE, NBD_CMD_WRITE_ZEROES, 8, 99]) {
  void t.test(
    `R42 - command ${type} takes no payload: it is dropped, and the answer is EINVAL`,
    async (t) => {
      const client = await RawClient.transmit(t, server, { extended: true })
      await client.call({ type: NBD_CMD_WRITE, payload: Buffer.alloc(8, 1) })
      for (const length of [0, 1, 4096, MiB, 32 * MiB]) {
        const asked = { type, flags, cookie: 5n, payload: Buffer.alloc(length, 0xff) }
        client.send(extendedRequest(asked))
        const { error, message } = await client.reply({ ...asked, length: 0 })
        t.equal(error, NBD_EINVAL)
        t.match(message, /PAYLOAD_LEN|unknown command/)
        t.equal((await client.call(first)).data[0], 1, 'the next request is in step, and nothing was changed')
      }
    }
  )
}

void t.test('R43 - BLOCK_STATUS with payload is not offered, and drained', async (t) => {
  const client = await RawClient.negotiate(t, server)
  await client.negotiateExtended()
  await client.setMeta('', ['base:allocation'])
  t.notOk((await client.go('')).flags & NBD_FLAG_BLOCK_STATUS_PAYLOAD)
  const asked = { type: NBD_CMD_BLOCK_STATUS, flags, payload: Buffer.alloc(12) }
  client.send(extendedRequest(asked))
  t.equal((await client.reply(asked)).error, NBD_EINVAL)
  t.equal((await client.call({ type: NBD_CMD_BLOCK_STATUS, length: 4096 })).error, 0)
})

void t.test('R42 - a payload beyond the maximum ends the connection, whatever the command', async (t) => {
  for (const type of [NBD_CMD_WRITE, NBD_CMD_READ, NBD_CMD_BLOCK_STATUS]) {
    for (const length of [32 * MiB + 1, 2 ** 32, 2n ** 64n - 1n]) {
      const client = await RawClient.transmit(t, server, { extended: true })
      client.send(extendedRequest({ type, flags, length }))
      t.equal((await client.closed()).length, 0, `command ${type} with ${length} bytes`)
    }
  }
})

void t.test('R42 - a refused WRITE is answered when its payload is out of the way', async (t) => {
  const client = await RawClient.transmit(t, server, { extended: true })
  await client.call({ type: NBD_CMD_WRITE, payload: Buffer.alloc(8, 1) })
  const asked = { type: NBD_CMD_WRITE, offset: 64 * MiB - 1, payload }
  t.equal((await client.call(asked)).error, NBD_ENOSPC)
  t.equal((await client.call(first)).data[0], 1)
})

void t.test('R42 - the flag is unknown without extended headers', async (t) => {
  const client = await RawClient.transmit(t, server, { structured: true })
  await client.call({ type: NBD_CMD_WRITE, payload: Buffer.alloc(8, 1) })
  t.equal((await client.call({ type: NBD_CMD_WRITE, flags, payload })).error, NBD_EINVAL)
  t.equal((await client.call({ type: NBD_CMD_TRIM, flags, length: 4096 })).error, NBD_EINVAL)
  t.equal((await client.call(first)).data[0], 1)
})

void t.test('R16 - DISC with the flag is DISC', async (t) => {
  const client = await RawClient.transmit(t, server, { extended: true })
  client.send(extendedRequest({ type: NBD_CMD_DISC, flags, length: 4096 }))
  t.equal((await client.closed()).length, 0)
})
