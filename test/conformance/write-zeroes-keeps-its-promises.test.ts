import t from 'tap'
import { allocatedBytes, imageOf, readAt } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_ENOTSUP,
  NBD_STATE_HOLE
} from '../helpers/raw-constants.ts'
import { MiB } from '../helpers/raw-wire.ts'

const SIZE = 8 * MiB
const content = Buffer.alloc(SIZE, 0x77)
const image = imageOf(t, content)
const servers = { file: await Mqnbd.serve(t, [image]), memory: await Mqnbd.serve(t, ['memory:8M']) }
const ranges = [
  [0, SIZE],
  [4096, 4096],
  [1, 1],
  [4095, 2],
  [12_345, 1_234_567]
] as const

for (const [kind, server] of Object.entries(servers)) {
  for (const flags of [
    0,
    NBD_CMD_FLAG_NO_HOLE,
    NBD_CMD_FLAG_FAST_ZERO,
    NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO
  ]) {
    void t.test(
      `WRITE_ZEROES - zeroes its range and no byte beside it (${kind}, flags ${flags})`,
      async (t) => {
        const client = await RawClient.transmit(t, server)
        for (const [offset, length] of ranges) {
          await client.call({ type: NBD_CMD_WRITE, payload: content })
          const { error } = await client.call({ type: NBD_CMD_WRITE_ZEROES, flags, offset, length })
          const expected = Buffer.from(content)
          if (error === 0) expected.fill(0, offset, offset + length)
          // R32: only FAST_ZERO may be refused, by ENOTSUP, and then nothing is changed.
          else t.strictSame([error, flags & NBD_CMD_FLAG_FAST_ZERO], [NBD_ENOTSUP, NBD_CMD_FLAG_FAST_ZERO])
          const { data } = await client.call({ type: NBD_CMD_READ, length: SIZE })
          t.ok(data.equals(expected), `${length} bytes at ${offset}, error ${error}`)
        }
      }
    )
  }

  void t.test(`WRITE_ZEROES - with NO_HOLE leaves no hole, over data and over holes (${kind})`, async (t) => {
    const client = await RawClient.transmit(t, server, { meta: ['base:allocation'] })
    await client.call({ type: NBD_CMD_WRITE, payload: content })
    await client.call({ type: NBD_CMD_TRIM, offset: MiB, length: MiB })
    const asked = { type: NBD_CMD_WRITE_ZEROES, flags: NBD_CMD_FLAG_NO_HOLE, offset: 0, length: 4 * MiB }
    t.equal((await client.call(asked)).error, 0)
    if (kind === 'file') t.ok(allocatedBytes(image) >= SIZE, `${allocatedBytes(image)} bytes are allocated`)
    t.ok((await client.call({ type: NBD_CMD_READ, length: 4 * MiB })).data.equals(Buffer.alloc(4 * MiB)))
    // What was punched and then filled again is no hole any more.
    t.equal((await client.call({ type: NBD_CMD_WRITE, payload: content })).error, 0)
  })
}

void t.test('WRITE_ZEROES - without NO_HOLE gives the space back', async (t) => {
  const client = await RawClient.transmit(t, servers.file, { meta: ['base:allocation'] })
  await client.call({ type: NBD_CMD_WRITE, payload: content })
  t.equal((await client.call({ type: NBD_CMD_WRITE_ZEROES, offset: 0, length: 4 * MiB })).error, 0)
  t.ok(allocatedBytes(image) < 5 * MiB, `${allocatedBytes(image)} bytes are allocated`)
  const [extents] = (await client.call({ type: NBD_CMD_BLOCK_STATUS, length: 4 * MiB })).extents.values()
  t.ok((extents![0]!.flags & NBD_STATE_HOLE) !== 0)
  t.ok(readAt(image, 0, SIZE).equals(Buffer.concat([Buffer.alloc(4 * MiB), content.subarray(4 * MiB)])))
})

void t.test('TRIM - touches no byte outside of its range', async (t) => {
  for (const server of Object.values(servers)) {
    const client = await RawClient.transmit(t, server)
    for (const [offset, length] of ranges) {
      await client.call({ type: NBD_CMD_WRITE, payload: content })
      t.equal((await client.call({ type: NBD_CMD_TRIM, offset, length })).error, 0)
      const { data } = await client.call({ type: NBD_CMD_READ, length: SIZE })
      t.ok(data.subarray(0, offset).equals(content.subarray(0, offset)))
      t.ok(data.subarray(offset + length).equals(content.subarray(offset + length)))
    }
  }
})
