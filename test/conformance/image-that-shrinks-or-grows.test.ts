import * as fs from 'node:fs'
import t, { type Test } from 'tap'
import { imageOf } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_CMD_READ,
  NBD_EINVAL,
  NBD_EIO,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_ERROR,
  NBD_REPLY_TYPE_OFFSET_DATA
} from '../helpers/raw-constants.ts'
import { KiB, MiB, request, type RawRequest } from '../helpers/raw-wire.ts'
import { waitFor } from '../helpers/wait-for.ts'

const SIZE = 32 * MiB

/**
 * A connection on which the reply to a READ of all has begun, and whose image is cut off then.
 *
 * @param behind another READ, which was sent together with it
 */
async function cutWhileReading(t: Test, structured: boolean, behind?: RawRequest): Promise<RawClient> {
  const image = imageOf(t, Buffer.alloc(SIZE, 5))
  const client = await RawClient.transmit(t, await Mqnbd.serve(t, [image]), { structured })
  const before = client.socket.bytesRead
  const all = request({ type: NBD_CMD_READ, length: SIZE })
  client.send(behind ? Buffer.concat([all, request(behind)]) : all)
  client.socket.once('data', () => client.socket.pause())
  await waitFor('the reply to begin', () => client.socket.bytesRead > before)
  fs.truncateSync(image, 4096)
  client.socket.resume()
  return client
}

void t.test(
  'R19 - a simple READ that fails in the middle of its data ends the connection at once',
  async (t) => {
    const client = await cutWhileReading(t, false)
    const got = await client.closed()
    t.ok(got.length >= 16 && got.length < 16 + SIZE, `${got.length} bytes`)
  }
)

void t.test(
  'R20 R21 - a structured READ that fails in the middle completes its chunk and tells the error',
  async (t) => {
    const client = await cutWhileReading(t, true)
    const data = await client.chunk()
    t.equal(data.type, NBD_REPLY_TYPE_OFFSET_DATA)
    t.equal(data.flags & NBD_REPLY_FLAG_DONE, 0)
    t.equal(data.payload.length, 8 + SIZE)
    const error = await client.chunk()
    t.strictSame([error.type, error.flags], [NBD_REPLY_TYPE_ERROR, NBD_REPLY_FLAG_DONE])
  }
)

void t.test('R21 - what is final comes whole, though the image is cut off before it is sent', async (t) => {
  const length = 512 * KiB
  const client = await cutWhileReading(t, true, { type: NBD_CMD_READ, offset: 4 * MiB, length, cookie: 2n })
  await client.chunk()
  t.equal((await client.chunk()).type, NBD_REPLY_TYPE_ERROR)
  const { type, flags, cookie, payload } = await client.chunk()
  t.strictSame([type, flags, cookie], [NBD_REPLY_TYPE_OFFSET_DATA, NBD_REPLY_FLAG_DONE, 2n])
  t.ok(payload.subarray(8).equals(Buffer.alloc(length, 5)), 'the data')
})

for (const structured of [false, true]) {
  void t.test(
    `R32 - reading what the file has lost is EIO, and the connection lives, structured: ${structured}`,
    async (t) => {
      const image = imageOf(t, Buffer.alloc(MiB, 5))
      const client = await RawClient.transmit(t, await Mqnbd.serve(t, [image]), { structured })
      fs.truncateSync(image, 100 * KiB)
      for (const length of [512, 16 * KiB, 64 * KiB, 512 * KiB]) {
        const { error } = await client.call({ type: NBD_CMD_READ, offset: 300 * KiB, length })
        t.equal(error, NBD_EIO, `${length} bytes`)
      }
      const { data } = await client.call({ type: NBD_CMD_READ, length: 100 * KiB })
      t.ok(data.equals(Buffer.alloc(100 * KiB, 5)), 'what it still has can be read')
    }
  )
}

void t.test('R46 - a file that grows does not change the size of its export', async (t) => {
  const image = imageOf(t, Buffer.alloc(MiB, 5))
  const server = await Mqnbd.serve(t, [image])
  const client = await RawClient.transmit(t, server)
  fs.truncateSync(image, 2 * MiB)
  t.equal((await client.call({ type: NBD_CMD_READ, offset: MiB, length: 1 })).error, NBD_EINVAL)
  t.equal((await (await RawClient.negotiate(t, server)).go('')).size, BigInt(MiB))
})
