import t from 'tap'
import { imageOf, readAt } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_EPERM
} from '../helpers/raw-constants.ts'
import type { RawRequest } from '../helpers/raw-wire.ts'

const content = Buffer.alloc(1 << 20, 'content ')
const image = imageOf(t, content)
const server = await Mqnbd.serve(t, [image, '-r'])

const writes: RawRequest[] = [
  { type: NBD_CMD_WRITE, payload: Buffer.alloc(0) },
  { type: NBD_CMD_WRITE, payload: Buffer.alloc(512, 1) },
  { type: NBD_CMD_WRITE, payload: Buffer.alloc(1 << 20, 1), flags: NBD_CMD_FLAG_FUA },
  { type: NBD_CMD_TRIM, length: 4096 },
  { type: NBD_CMD_TRIM, length: 4096, flags: NBD_CMD_FLAG_FUA },
  { type: NBD_CMD_WRITE_ZEROES, length: 4096 },
  { type: NBD_CMD_WRITE_ZEROES, length: 4096, flags: NBD_CMD_FLAG_NO_HOLE },
  { type: NBD_CMD_WRITE_ZEROES, length: 4096, flags: NBD_CMD_FLAG_FAST_ZERO }
]

for (const structured of [false, true]) {
  void t.test(
    `read-only - every write is EPERM, and the connection lives, structured: ${structured}`,
    async (t) => {
      const client = await RawClient.transmit(t, server, { structured })
      for (const write of writes) {
        const { error } = await client.call(write)
        t.equal(error, NBD_EPERM, `command ${write.type}, flags ${write.flags ?? 0}`)
        t.ok((await client.call({ type: NBD_CMD_READ, length: 512 })).data.equals(content.subarray(0, 512)))
      }
      t.equal((await client.call({ type: NBD_CMD_FLUSH })).error, 0)
      t.ok(readAt(image, 0, content.length).equals(content), 'the file is as it was')
    }
  )
}
