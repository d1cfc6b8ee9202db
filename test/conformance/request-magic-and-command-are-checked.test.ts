import t from 'tap'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_CMD_READ,
  NBD_CMD_RESIZE,
  NBD_CMD_WRITE,
  NBD_EINVAL,
  NBD_OPT_MAGIC,
  NBD_SIMPLE_REPLY_MAGIC
} from '../helpers/raw-constants.ts'
import { option, request } from '../helpers/raw-wire.ts'

const server = await Mqnbd.serve(t, ['memory:1M'])

void t.test(
  'R41 - a wrong request magic ends the connection, and the request is not carried out',
  async (t) => {
    const payload = Buffer.alloc(512, 0xee)
    for (const magic of [
      0,
      0x25609512,
      0x25609514,
      0xa5609513,
      0x13956025,
      NBD_SIMPLE_REPLY_MAGIC,
      0xffffffff
    ]) {
      const client = await RawClient.transmit(t, server)
      client.send(request({ type: NBD_CMD_WRITE, payload, magic }))
      t.equal((await client.closed()).length, 0, magic.toString(16))
    }
    const client = await RawClient.transmit(t, server)
    t.ok((await client.call({ type: NBD_CMD_READ, length: 512 })).data.equals(Buffer.alloc(512)))
  }
)

void t.test('R41 - extended headers that were not negotiated end the connection', async (t) => {
  const client = await RawClient.transmit(t, server, { structured: true })
  client.send(Buffer.concat([request({ type: NBD_CMD_READ, magic: 0x21e41c71 }), Buffer.alloc(4)]))
  t.equal((await client.closed()).length, 0)
})

void t.test('R41 - an option after the end of negotiation ends the connection', async (t) => {
  const client = await RawClient.transmit(t, server)
  client.send(Buffer.concat([option(3, Buffer.alloc(12), { magic: NBD_OPT_MAGIC })]))
  t.equal((await client.closed()).length, 0)
})

for (const structured of [false, true]) {
  void t.test(`unknown command - is EINVAL, whatever its fields, structured: ${structured}`, async (t) => {
    const client = await RawClient.transmit(t, server, { structured })
    for (const type of [NBD_CMD_RESIZE, 9, 0x7fff, 0x8000, 0xffff]) {
      for (const [offset, length, flags] of [
        [0n, 0, 0],
        [0n, 1 << 20, 1],
        [(1n << 64n) - 1n, 0xffffffff, 0xffff]
      ] as const) {
        const reply = await client.call({ type, offset, length, flags, cookie: BigInt(type) })
        t.equal(reply.error, NBD_EINVAL, `command ${type}, ${length} bytes at ${offset}`)
        t.equal(reply.cookie, BigInt(type))
      }
    }
    t.equal((await client.call({ type: NBD_CMD_READ, length: 1 })).error, 0, 'the connection lives')
  })
}
