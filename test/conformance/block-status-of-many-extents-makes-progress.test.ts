import t from 'tap'
import { emptyImage } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import type { RawExtent } from '../helpers/raw-reply.ts'
import { NBD_CMD_BLOCK_STATUS, NBD_CMD_WRITE } from '../helpers/raw-constants.ts'
import { KiB, request } from '../helpers/raw-wire.ts'

const STEP = 8 * KiB
const COUNT = 6000
const SIZE = COUNT * STEP
const server = await Mqnbd.serve(t, [emptyImage(t, SIZE)])

void t.test(
  'R36 - asking on where the last reply ended tells every extent of a checkered file',
  async (t) => {
    const client = await RawClient.transmit(t, server, { meta: ['base:allocation'] })
    const payload = Buffer.alloc(4 * KiB, 1)
    const writes = Array.from({ length: COUNT }, (_, i) =>
      request({ type: NBD_CMD_WRITE, cookie: BigInt(i), offset: i * STEP, payload })
    )
    client.send(...writes)
    for (let i = 0; i < COUNT; i++) await client.reply({ type: NBD_CMD_WRITE })

    const told: RawExtent[] = []
    for (let at = 0; at < SIZE;) {
      const { extents } = await client.call({ type: NBD_CMD_BLOCK_STATUS, offset: at, length: SIZE - at })
      const some = [...extents.values()][0]!
      t.ok(some.length >= 1 && some.length <= 1 << 20, `${some.length} extents`)
      const sums = some.slice(0, -1).reduce((sum, { length }) => sum + length, 0)
      t.ok(sums < SIZE - at, 'all but the last are less than what was asked for')
      told.push(...some)
      at += some.reduce((sum, { length }) => sum + length, 0)
    }
    const expected = Array.from({ length: COUNT }, () => [
      { length: 4 * KiB, flags: 0 },
      { length: 4 * KiB, flags: 3 }
    ]).flat()
    t.strictSame(told, expected)
  }
)
