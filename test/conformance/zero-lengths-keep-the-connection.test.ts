import t from 'tap'
import { imageOf } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_CACHE,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES
} from '../helpers/raw-constants.ts'

const commands = {
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_CMD_TRIM,
  NBD_CMD_CACHE,
  NBD_CMD_WRITE_ZEROES,
  NBD_CMD_BLOCK_STATUS
}
const SIZE = 1 << 20

const servers = {
  memory: await Mqnbd.serve(t, ['memory:1M']),
  file: await Mqnbd.serve(t, [imageOf(t, Buffer.alloc(SIZE, 7))])
}

for (const [kind, server] of Object.entries(servers)) {
  for (const structured of [false, true]) {
    for (const [name, type] of Object.entries(commands)) {
      const form = `${kind}, ${structured ? 'structured' : 'simple'}`
      void t.test(`R24 - ${name} of no bytes is answered, and the connection lives (${form})`, async (t) => {
        const client = await RawClient.transmit(t, server, structured ? { meta: ['base:allocation'] } : {})
        for (const offset of [0, 1, SIZE, SIZE + 1, (1n << 64n) - 1n]) {
          for (const flags of [0, NBD_CMD_FLAG_FUA]) {
            const reply = await client.call({ type, flags, offset, cookie: 77n })
            t.equal(reply.cookie, 77n, `at ${offset}, flags ${flags}: ${reply.message}`)
            t.equal(reply.data.length, 0)
          }
        }
        const expected = Buffer.alloc(10, kind === 'file' ? 7 : 0)
        t.ok(
          (await client.call({ type: NBD_CMD_READ, length: 10 })).data.equals(expected),
          'nothing was changed'
        )
      })
    }
  }
}
