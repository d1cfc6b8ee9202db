import * as fs from 'node:fs'
import t from 'tap'
import { emptyImage } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import type { RawExtent } from '../helpers/raw-reply.ts'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_WRITE,
  NBD_EINVAL,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_STATE_HOLE,
  NBD_STATE_ZERO
} from '../helpers/raw-constants.ts'
import { KiB, MiB, request } from '../helpers/raw-wire.ts'

const HOLE = NBD_STATE_HOLE | NBD_STATE_ZERO
const image = emptyImage(t, 8 * MiB)
const fd = fs.openSync(image, 'r+')
for (const [offset, length] of [
  [MiB, MiB],
  [4 * MiB, 64 * KiB]
] as const) {
  fs.writeSync(fd, Buffer.alloc(length, 1), 0, length, offset)
}
fs.fsyncSync(fd)
fs.closeSync(fd)

/** What the file has, by the layout above. */
const layout: RawExtent[] = [
  { length: MiB, flags: HOLE },
  { length: MiB, flags: 0 },
  { length: 2 * MiB, flags: HOLE },
  { length: 64 * KiB, flags: 0 },
  { length: 4 * MiB - 64 * KiB, flags: HOLE }
]

/** `layout` from `offset` on, `length` bytes of it. */
function expected(offset: number, length: number): RawExtent[] {
  const extents: RawExtent[] = []
  let at = 0
  for (const extent of layout) {
    const start = Math.max(at, offset)
    at += extent.length
    const end = Math.min(at, offset + length)
    if (end > start) extents.push({ length: end - start, flags: extent.flags })
  }
  return extents
}

const server = await Mqnbd.serve(t, [image])
const memory = await Mqnbd.serve(t, ['memory:8M'])
const ranges = [
  [0, 8 * MiB],
  [0, 1],
  [MiB - 1, 2],
  [MiB, MiB],
  [MiB + 12345, 3 * MiB],
  [3 * MiB, 512],
  [4 * MiB + 63 * KiB, 4 * MiB - 63 * KiB],
  [8 * MiB - 1, 1]
] as const

async function statusOf(client: RawClient, offset: number, length: number, flags = 0): Promise<RawExtent[]> {
  const { error, extents } = await client.call({ type: NBD_CMD_BLOCK_STATUS, flags, offset, length })
  if (error !== 0 || extents.size !== 1) throw new Error(`error ${error}, ${extents.size} chunks`)
  return [...extents.values()][0]!
}

void t.test(
  'R35 R36 - BLOCK_STATUS tells holes and data in order, and stops at the end of the request',
  async (t) => {
    const client = await RawClient.transmit(t, server, { meta: ['base:allocation'] })
    for (const [offset, length] of ranges) {
      t.strictSame(
        await statusOf(client, offset, length),
        expected(offset, length),
        `${length} bytes at ${offset}`
      )
    }
  }
)

void t.test('R38 - with REQ_ONE it tells the first extent only, not longer than asked', async (t) => {
  const client = await RawClient.transmit(t, server, { meta: ['base:allocation'] })
  for (const [offset, length] of ranges) {
    const one = await statusOf(client, offset, length, NBD_CMD_FLAG_REQ_ONE)
    t.strictSame(one, expected(offset, length).slice(0, 1), `${length} bytes at ${offset}`)
  }
})

void t.test('R35 - what is written stops being a hole, of a file and of a memory disk', async (t) => {
  for (const served of [server, memory]) {
    const client = await RawClient.transmit(t, served, { meta: ['base:allocation'] })
    t.strictSame(await statusOf(client, 6 * MiB, MiB), [{ length: MiB, flags: HOLE }])
    await client.call({ type: NBD_CMD_WRITE, offset: 6 * MiB + 64 * KiB, payload: Buffer.alloc(64 * KiB, 1) })
    t.strictSame(await statusOf(client, 6 * MiB, MiB), [
      { length: 64 * KiB, flags: HOLE },
      { length: 64 * KiB, flags: 0 },
      { length: MiB - 128 * KiB, flags: HOLE }
    ])
  }
})

void t.test('R37 - one context is one chunk, with the id that was given and DONE', async (t) => {
  const client = await RawClient.negotiate(t, server)
  await client.negotiateStructured()
  const id = (await client.setMeta('', ['base:allocation'])).get('base:allocation')!
  await client.go('')
  client.send(request({ type: NBD_CMD_BLOCK_STATUS, cookie: 4n, length: MiB }))
  const { type, flags, cookie, payload } = await client.chunk()
  t.strictSame([type, flags, cookie], [NBD_REPLY_TYPE_BLOCK_STATUS, NBD_REPLY_FLAG_DONE, 4n])
  t.equal(payload.readUInt32BE(0), id)
})

void t.test('BLOCK_STATUS - without a context is EINVAL, and the connection lives', async (t) => {
  for (const structured of [false, true]) {
    const client = await RawClient.transmit(t, server, { structured })
    for (let i = 0; i < 3; i++) {
      t.equal((await client.call({ type: NBD_CMD_BLOCK_STATUS, length: 512 })).error, NBD_EINVAL)
    }
  }
})
