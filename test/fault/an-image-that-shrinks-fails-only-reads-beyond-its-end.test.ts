import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import t from 'tap'
import { imageOf, KiB, MiB } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import type { RawReply } from '../helpers/raw-reply.ts'
import { NBD_CMD_READ, NBD_EIO } from '../helpers/raw-constants.ts'
import type { Test } from '../helpers/requires.ts'

const SIZE = 8 * MiB
const CUT = 4 * MiB

/** What a read brings: an error or data; undefined when the connection was closed instead. */
async function read(
  t: Test,
  server: Mqnbd,
  structured: boolean,
  offset: number,
  length: number
): Promise<RawReply | undefined> {
  const client = await RawClient.transmit(t, server, { structured })
  return client.call({ type: NBD_CMD_READ, offset, length }).catch(() => undefined)
}

for (const structured of [false, true]) {
  const form = structured ? 'structured' : 'simple'
  void t.test(`shorter image - with ${form} replies`, async (t) => {
    const bytes = crypto.randomBytes(SIZE)
    const image = imageOf(t, bytes)
    const server = await Mqnbd.serve(t, [image, '-r', '--iothreads', '1'])
    const before = await read(t, server, structured, 0, SIZE)
    t.ok(before?.data.equals(bytes))
    fs.truncateSync(image, CUT)

    for (const length of [1, 4 * KiB, 64 * KiB, 2 * MiB]) {
      const beyond = await read(t, server, structured, CUT + MiB, length)
      t.equal(beyond?.error, NBD_EIO, `${length} bytes beyond its end`)
      const across = await read(t, server, structured, CUT - 1, length + 1)
      // Its head may have gone out already.
      if (across) t.equal(across.error, NBD_EIO, `${length + 1} bytes across its end`)
    }
    const within = await read(t, server, structured, 0, CUT)
    t.ok(within?.data.equals(bytes.subarray(0, CUT)), 'what is left can be read')
    t.same(await server.process.end(), { status: 0, signal: null })
  })
}
