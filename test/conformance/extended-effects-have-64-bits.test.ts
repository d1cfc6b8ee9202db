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
import { extendedRequest } from '../helpers/raw-wire.ts'

const GiB = 1024 ** 3
const SIZE = 40 * GiB
const BLOCK = 4096
/** Where there is data: in the first pieces that effects are made of, at their borders, and at the end. */
const PLACES = [BLOCK, GiB - BLOCK, GiB, 4 * GiB, 7 * GiB + BLOCK, SIZE - BLOCK]
const image = emptyImage(t, SIZE)
const servers = { file: await Mqnbd.serve(t, [image]), memory: await Mqnbd.serve(t, [`memory:${SIZE}`]) }

for (const [kind, server] of Object.entries(servers)) {
  void t.test(`R26 - effects reach over more than 4 GiB in one request (${kind})`, async (t) => {
    const client = await RawClient.transmit(t, server, { extended: true, meta: ['base:allocation'] })
    const fill = async (): Promise<void> => {
      for (const offset of PLACES)
        await client.call({ type: NBD_CMD_WRITE, offset, payload: Buffer.alloc(BLOCK, 1) })
    }
    const marks = async (): Promise<number[]> => {
      const bytes: number[] = []
      for (const offset of PLACES)
        bytes.push((await client.call({ type: NBD_CMD_READ, offset, length: 1 })).data[0]!)
      return bytes
    }
    const status = async (offset: number, length: number, flags = 0) => {
      const { error, extents } = await client.call({ type: NBD_CMD_BLOCK_STATUS, flags, offset, length })
      t.equal(error, 0)
      return [...extents.values()][0]!
    }

    t.same(await status(0, SIZE), [{ length: SIZE, flags: 3 }], 'one extent of 40 GiB')
    await fill()
    t.equal((await client.call({ type: NBD_CMD_CACHE, length: SIZE })).error, 0)
    const holes = (await status(0, SIZE)).filter(({ flags }) => flags === 3).map(({ length }) => length)
    t.strictSame(holes, [BLOCK, GiB - 3 * BLOCK, 3 * GiB - BLOCK, 3 * GiB, SIZE - 7 * GiB - 3 * BLOCK])
    t.same(await status(8 * GiB, 20 * GiB, NBD_CMD_FLAG_REQ_ONE), [{ length: 20 * GiB, flags: 3 }])

    t.equal((await client.call({ type: NBD_CMD_WRITE_ZEROES, offset: GiB, length: SIZE - GiB })).error, 0)
    t.strictSame(await marks(), [1, 1, 0, 0, 0, 0], 'and not beyond their range')
    await fill()
    t.equal((await client.call({ type: NBD_CMD_TRIM, offset: BLOCK + 1, length: SIZE - BLOCK - 1 })).error, 0)
    t.strictSame(await marks(), [1, 0, 0, 0, 0, 0])
    t.equal((await client.call({ type: NBD_CMD_WRITE_ZEROES, length: SIZE })).error, 0)
    t.same(await status(0, SIZE), [{ length: SIZE, flags: 3 }])
  })
}

void t.test('R26 - no space is left behind', async (t) => {
  t.equal(allocatedBytes(image), 0)
})

void t.test('R26 - an effect over a terabyte lets other requests through', async (t) => {
  const server = await Mqnbd.serve(t, [`memory:${1024 * GiB}`])
  const client = await RawClient.transmit(t, server, { extended: true })
  const trim = { type: NBD_CMD_TRIM, cookie: 1n, length: 1024 * GiB }
  const read = { type: NBD_CMD_READ, cookie: 2n, offset: 5, length: 5 }
  client.send(extendedRequest(trim), extendedRequest(read))
  const find = (cookie: bigint) => (cookie === 1n ? trim : read)
  const replies = [await client.replyToAny(find), await client.replyToAny(find)]
  t.strictSame(
    replies.map(({ cookie, error }) => [cookie, error]),
    [
      [2n, 0],
      [1n, 0]
    ]
  )
})
