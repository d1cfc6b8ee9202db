import * as fs from 'node:fs'
import t from 'tap'
import { fadvise } from '../../shared/syscall/file-space.ts'
import { imageOf } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import { NBD_CMD_FLUSH, NBD_CMD_READ } from '../helpers/raw-constants.ts'
import { MiB, request } from '../helpers/raw-wire.ts'

const POSIX_FADV_DONTNEED = 4
const SIZE = 128 * MiB
const image = imageOf(t, Buffer.alloc(SIZE, 3))
const server = await Mqnbd.serve(t, [image, '--iothreads', '1'])

async function dropFromCache(): Promise<void> {
  const fd = fs.openSync(image, 'r')
  fs.fdatasyncSync(fd)
  await fadvise(fd, 0, SIZE, POSIX_FADV_DONTNEED)
  fs.closeSync(fd)
}

for (const length of [32 * MiB, 4 * MiB]) {
  for (const structured of [false, true]) {
    const form = structured ? 'structured' : 'simple'
    void t.test(
      `in flight - more than 64 MiB of READs of ${length / MiB} MiB are all answered, ${form}`,
      async (t) => {
        const client = await RawClient.transmit(t, server, { structured })
        const asked = Array.from({ length: SIZE / length }, (_, i) => ({
          type: NBD_CMD_READ,
          offset: i * length,
          length
        }))
        for (let round = 0; round < 2; round++) {
          await dropFromCache()
          client.send(Buffer.concat(asked.map((fields, i) => request({ ...fields, cookie: BigInt(i) }))))
          const seen = new Set<bigint>()
          for (const _ of asked) {
            const reply = await client.replyToAny((cookie) => asked[Number(cookie)]!)
            if (reply.error !== 0 || !reply.data.equals(Buffer.alloc(length, 3)))
              t.fail(`error ${reply.error}`)
            seen.add(reply.cookie)
          }
          t.equal(seen.size, asked.length)
          t.equal((await client.call({ type: NBD_CMD_FLUSH })).error, 0, 'and what comes next')
        }
      }
    )
  }
}
