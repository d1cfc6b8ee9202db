import t from 'tap'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import { NBD_CMD_FLUSH, NBD_CMD_READ } from '../helpers/raw-constants.ts'
import { request } from '../helpers/raw-wire.ts'

void t.test('R15 - over TCP, replies that leave one by one are not held back for one another', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1M', '-p', '0', '-b', '127.0.0.1'])
  const client = await RawClient.transmit(t, server)
  client.socket.setNoDelay(true)
  // Nagle's algorithm against delayed acknowledgements costs 40 ms for each pair of replies.
  const ROUNDS = 100
  const start = performance.now()
  for (let i = 0; i < ROUNDS; i++) {
    const asked = [
      { type: NBD_CMD_READ, length: 1, cookie: 0n },
      { type: NBD_CMD_FLUSH, cookie: 1n }
    ]
    client.send(Buffer.concat(asked.map((one) => request(one))))
    // In whichever order.
    for (const _ of asked) t.equal((await client.replyToAny((cookie) => asked[Number(cookie)]!)).error, 0)
  }
  t.ok(performance.now() - start < ROUNDS * 35, `${Math.round(performance.now() - start)} ms`)
})
