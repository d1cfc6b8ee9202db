import t from 'tap'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import { NBD_CMD_FLUSH, NBD_EINVAL } from '../helpers/raw-constants.ts'

const server = await Mqnbd.serve(t, ['memory:1M'])

void t.test('FLUSH - with an offset or a length is EINVAL, and the connection lives', async (t) => {
  for (const structured of [false, true]) {
    const client = await RawClient.transmit(t, server, { structured })
    for (const [offset, length] of [
      [1n, 0],
      [0n, 1],
      [512n, 512],
      [(1n << 64n) - 1n, 0],
      [0n, 0xffffffff]
    ] as const) {
      const { error } = await client.call({ type: NBD_CMD_FLUSH, offset, length })
      t.equal(error, NBD_EINVAL, `${length} at ${offset}`)
    }
    t.equal((await client.call({ type: NBD_CMD_FLUSH })).error, 0)
  }
})
