import t from 'tap'
import { emptyImage } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_CACHE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES
} from '../helpers/raw-constants.ts'
import { MiB, request, type RawRequest } from '../helpers/raw-wire.ts'

const COOKIES = [
  0n,
  1n,
  0x7fffffffn,
  0x80000000n,
  0xffffffffn,
  1n << 32n,
  (1n << 53n) + 1n,
  1n << 63n,
  (1n << 64n) - 1n
]
const requests: RawRequest[] = [
  { type: NBD_CMD_READ, length: 512 },
  { type: NBD_CMD_READ, length: MiB },
  { type: NBD_CMD_READ, offset: 1n << 60n, length: 1 },
  { type: NBD_CMD_WRITE, payload: Buffer.alloc(512) },
  { type: NBD_CMD_WRITE, payload: Buffer.alloc(2 * MiB) },
  { type: NBD_CMD_FLUSH },
  { type: NBD_CMD_TRIM, length: 4096 },
  { type: NBD_CMD_CACHE, length: 4096 },
  { type: NBD_CMD_WRITE_ZEROES, length: 4096 },
  { type: NBD_CMD_BLOCK_STATUS, length: 4096 },
  { type: 99 }
]

const server = await Mqnbd.serve(t, [emptyImage(t, 16 * MiB)])

for (const structured of [false, true]) {
  void t.test(`R17 - every cookie comes back as it was, structured: ${structured}`, async (t) => {
    const client = await RawClient.transmit(t, server, structured ? { meta: ['base:allocation'] } : {})
    for (const asked of requests) {
      for (const cookie of COOKIES) {
        const reply = await client.call({ ...asked, cookie })
        if (reply.cookie !== cookie) t.fail(`command ${asked.type}: ${reply.cookie} for ${cookie}`)
      }
    }
    t.equal(client.pending, 0)
  })
}

void t.test('R17 - requests in flight that share a cookie are each answered', async (t) => {
  const client = await RawClient.transmit(t, server, { structured: true })
  const asked = { type: NBD_CMD_READ, length: 1000, cookie: 7n }
  for (let i = 0; i < 100; i++) client.send(request(asked))
  for (let i = 0; i < 100; i++) t.equal((await client.reply(asked)).cookie, 7n)
  t.equal(client.pending, 0)
})
