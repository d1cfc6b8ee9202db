import t from 'tap'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_DISC,
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_EINVAL,
  NBD_OPT_EXPORT_NAME
} from '../helpers/raw-constants.ts'
import { KiB, MiB, option, request, type RawRequest } from '../helpers/raw-wire.ts'
import { needs, serveTls } from '../helpers/tls-server.ts'

void t.test('transmission over TLS', needs, async (t) => {
  const { server, client: options } = await serveTls(t, '--tls', 'on')

  await t.test('R6, R7 - what was chosen in plain text is void', async (t) => {
    const client = await RawClient.negotiate(t, server)
    await client.negotiateStructured()
    await client.setMeta('', ['base:allocation'])
    await client.startTls(options)
    await client.negotiateStructured()
    await client.go('')
    t.equal((await client.call({ type: NBD_CMD_BLOCK_STATUS, length: 512 })).error, NBD_EINVAL)
  })

  await t.test("R7 - but the client's flags hold: EXPORT_NAME is answered without zeroes", async (t) => {
    const client = await RawClient.negotiate(t, server)
    await client.startTls(options)
    client.send(option(NBD_OPT_EXPORT_NAME))
    t.equal((await client.read(10)).readBigUInt64BE(0), 1048576n)
    t.equal((await client.call({ type: NBD_CMD_READ, length: 512 })).data.length, 512)
  })

  for (const structured of [false, true]) {
    await t.test(`many requests at once, ${structured ? 'structured' : 'simple'} replies`, async (t) => {
      const client = await RawClient.negotiate(t, server)
      await client.startTls(options)
      if (structured) await client.negotiateStructured()
      await client.go('')
      const bytes = Buffer.from(Uint32Array.from({ length: MiB / 4 }, (_, i) => i * 7).buffer)
      t.equal((await client.call({ type: NBD_CMD_WRITE, payload: bytes })).error, 0)
      const asked: RawRequest[] = Array.from({ length: 300 }, (_, i) => ({
        type: NBD_CMD_READ,
        cookie: BigInt(i),
        offset: (i * 3000) % (MiB - 64 * KiB),
        length: i % 3 === 0 ? 64 * KiB : 1000 + i
      }))
      client.send(Buffer.concat(asked.map(request)))
      for (let left = asked.length; left > 0; left--) {
        const reply = await client.replyToAny((cookie) => asked[Number(cookie)]!)
        const { offset = 0, length = 0 } = asked[Number(reply.cookie)]!
        const at = Number(offset)
        if (!reply.data.equals(bytes.subarray(at, at + length))) t.fail(`request ${reply.cookie}`)
      }
    })
  }

  await t.test('R16 - DISC ends TLS, and then the connection', async (t) => {
    const client = await RawClient.negotiate(t, server)
    await client.startTls({ ...options, maxVersion: 'TLSv1.2' })
    await client.go('')
    client.send(request({ type: NBD_CMD_READ, length: 512 }), request({ type: NBD_CMD_DISC }))
    t.equal((await client.simpleReply(() => 512)).data.length, 512)
    t.equal((await client.closed()).length, 0)
  })
})
