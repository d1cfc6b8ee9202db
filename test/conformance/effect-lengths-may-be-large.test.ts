import t from 'tap'
import { allocatedBytes, emptyImage } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_CACHE,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES
} from '../helpers/raw-constants.ts'

const GiB = 1024 ** 3
const LONGEST = 0xffffffff
const image = emptyImage(t, 8 * GiB)

const servers = { file: await Mqnbd.serve(t, [image]), memory: await Mqnbd.serve(t, ['memory:8G']) }

for (const [kind, server] of Object.entries(servers)) {
  void t.test(
    `R26 - TRIM, WRITE_ZEROES, CACHE and BLOCK_STATUS reach over 4 GiB - 1 bytes (${kind})`,
    async (t) => {
      const client = await RawClient.transmit(t, server, { meta: ['base:allocation'] })
      const ends = [4096, LONGEST - 4096, LONGEST]
      const fill = async (): Promise<void> => {
        for (const offset of ends)
          await client.call({ type: NBD_CMD_WRITE, offset, payload: Buffer.alloc(4096, 1) })
      }
      const marks = async (): Promise<number[]> => {
        const bytes: number[] = []
        for (const offset of ends)
          bytes.push((await client.call({ type: NBD_CMD_READ, offset, length: 1 })).data[0]!)
        return bytes
      }

      await fill()
      t.equal((await client.call({ type: NBD_CMD_CACHE, length: LONGEST })).error, 0)
      t.equal((await client.call({ type: NBD_CMD_WRITE_ZEROES, length: LONGEST })).error, 0)
      t.strictSame(await marks(), [0, 0, 1])
      await fill()
      t.equal((await client.call({ type: NBD_CMD_TRIM, offset: 1, length: LONGEST })).error, 0)
      await fill()
      const [extents] = (await client.call({ type: NBD_CMD_BLOCK_STATUS, length: LONGEST })).extents.values()
      t.equal(
        extents!.reduce((sum, { length }) => sum + length, 0),
        LONGEST
      )
      t.ok(extents!.length >= 4, 'hole, data, hole, data')
      const rest = { offset: 4 * GiB + 4096, length: LONGEST - 4096, flags: NBD_CMD_FLAG_REQ_ONE }
      const { extents: one } = await client.call({ type: NBD_CMD_BLOCK_STATUS, ...rest })
      t.strictSame([...one.values()], [[{ length: LONGEST - 4096, flags: 3 }]])
    }
  )
}

void t.test('R26 - the file stayed sparse', (t) => {
  t.ok(allocatedBytes(image) < 1024 * 1024)
  t.end()
})
