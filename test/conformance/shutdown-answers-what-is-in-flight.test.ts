import * as fs from 'node:fs'
import t from 'tap'
import { emptyImage } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import { NBD_CMD_READ, NBD_CMD_WRITE, NBD_ESHUTDOWN } from '../helpers/raw-constants.ts'
import { MiB, request } from '../helpers/raw-wire.ts'

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  void t.test(
    `R34 - on ${signal} every reply that comes is whole and true, and the server exits with 0`,
    async (t) => {
      const image = emptyImage(t, 64 * MiB)
      const server = await Mqnbd.serve(t, [image])
      const client = await RawClient.transmit(t, server)
      const idle = await RawClient.transmit(t, server)
      const negotiating = await RawClient.negotiate(t, server)
      const writes = Array.from({ length: 32 }, (_, i) => ({
        type: NBD_CMD_WRITE,
        offset: i * 2 * MiB,
        payload: Buffer.alloc(2 * MiB, i + 1)
      }))
      client.send(...writes.map((fields, i) => request({ ...fields, cookie: BigInt(i) })))
      const first = await client.reply({ type: NBD_CMD_WRITE })
      const [exit, rest] = await Promise.all([server.process.end(signal), client.closed()])
      t.strictSame(exit, { status: 0, signal: null })
      t.equal(server.process.stderr, '')

      const answered = [first.cookie]
      t.equal(rest.length % 16, 0, 'no reply is cut')
      for (let at = 0; at < rest.length; at += 16) {
        const error = rest.readUInt32BE(at + 4)
        if (error === 0) answered.push(rest.readBigUInt64BE(at + 8))
        else t.equal(error, NBD_ESHUTDOWN)
      }
      const bytes = fs.readFileSync(image)
      for (const cookie of answered) {
        const { offset, payload } = writes[Number(cookie)]!
        t.ok(bytes.subarray(offset, offset + payload.length).equals(payload), `write ${cookie}`)
      }
      t.equal((await idle.closed()).length, 0)
      t.equal((await negotiating.closed()).length, 0)
      t.notOk(fs.existsSync(server.socket!), 'the socket is gone')
    }
  )
}

void t.test('R34 - requests that were received in whole before the signal are answered', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:64M', '--iothreads', '1'])
  const [client, other] = [await RawClient.transmit(t, server), await RawClient.transmit(t, server)]
  client.send(
    Buffer.concat(
      Array.from({ length: 100 }, (_, i) => request({ type: NBD_CMD_READ, offset: i, length: 512 }))
    )
  )
  client.socket.pause()
  // The thread has seen the requests when it has served somebody else since.
  for (let i = 0; i < 5; i++) await other.call({ type: NBD_CMD_READ, length: 1 })
  const ended = server.process.end()
  client.socket.resume()
  for (let i = 0; i < 100; i++) t.equal((await client.reply({ type: NBD_CMD_READ, length: 512 })).error, 0)
  t.equal((await client.closed()).length, 0)
  t.equal((await ended).status, 0)
})
