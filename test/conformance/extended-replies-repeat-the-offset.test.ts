import * as fs from 'node:fs'
import t from 'tap'
import { imageOf } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_CACHE,
  NBD_CMD_DISC,
  NBD_CMD_FLAG_DF,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_EINVAL,
  NBD_EIO,
  NBD_ENOSPC,
  NBD_REPLY_TYPE_BLOCK_STATUS_EXT,
  NBD_REPLY_TYPE_ERROR,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA
} from '../helpers/raw-constants.ts'
import { extendedRequest, KiB, MiB } from '../helpers/raw-wire.ts'

const content = Buffer.from(Uint32Array.from({ length: MiB }, (_, i) => i).buffer)
const servers = {
  file: await Mqnbd.serve(t, [imageOf(t, content)]),
  memory: await Mqnbd.serve(t, ['memory:4M'])
}
const LENGTHS = [1, 511, 512, 4096, 32 * KiB - 1, 32 * KiB, 100_001, 128 * KiB - 40, 128 * KiB, MiB, 3 * MiB]

for (const [kind, server] of Object.entries(servers)) {
  void t.test(`R18 - extended READs of any length bring all of the data (${kind})`, async (t) => {
    const client = await RawClient.transmit(t, server, { extended: true })
    t.equal((await client.call({ type: NBD_CMD_WRITE, payload: content })).error, 0)
    for (const length of LENGTHS) {
      for (const offset of [0, 1, 4095, content.length - length]) {
        for (const flags of [0, NBD_CMD_FLAG_DF]) {
          // The raw client checks that each chunk repeats the offset.
          const { data, error } = await client.call({ type: NBD_CMD_READ, flags, offset, length, cookie: 8n })
          if (error !== 0 || !data.equals(content.subarray(offset, offset + length)))
            t.fail(`${length} bytes at ${offset}, flags ${flags}`)
        }
      }
    }
    t.equal(client.pending, 0)
  })
}

void t.test('R18 - every command is answered by extended chunks, never by a simple reply', async (t) => {
  const client = await RawClient.transmit(t, servers.memory, { extended: true, meta: ['base:allocation'] })
  const types: Record<number, number> = {
    [NBD_CMD_READ]: NBD_REPLY_TYPE_OFFSET_DATA,
    [NBD_CMD_WRITE]: NBD_REPLY_TYPE_NONE,
    [NBD_CMD_FLUSH]: NBD_REPLY_TYPE_NONE,
    [NBD_CMD_TRIM]: NBD_REPLY_TYPE_NONE,
    [NBD_CMD_CACHE]: NBD_REPLY_TYPE_NONE,
    [NBD_CMD_WRITE_ZEROES]: NBD_REPLY_TYPE_NONE,
    [NBD_CMD_BLOCK_STATUS]: NBD_REPLY_TYPE_BLOCK_STATUS_EXT,
    8: NBD_REPLY_TYPE_ERROR,
    99: NBD_REPLY_TYPE_ERROR
  }
  for (const [type, chunk] of Object.entries(types).map(([type, chunk]) => [Number(type), chunk])) {
    const place = type === NBD_CMD_FLUSH ? {} : { offset: 512, length: 512 }
    const data = type === NBD_CMD_WRITE ? { payload: Buffer.alloc(512) } : {}
    for (const flags of [0, NBD_CMD_FLAG_FUA]) {
      const { chunks } = await client.call({
        type: type!,
        flags,
        cookie: 0xfedcba9876543210n,
        ...place,
        ...data
      })
      t.strictSame(
        chunks.map(({ type }) => type),
        [chunk],
        `command ${type}, flags ${flags}`
      )
    }
  }
  const empty = await client.call({ type: NBD_CMD_READ, offset: 7 })
  t.strictSame([empty.error, empty.chunks[0]?.type], [0, NBD_REPLY_TYPE_NONE], 'a READ of nothing')
})

void t.test('R18 - an error repeats any offset, also one of more than 53 bits', async (t) => {
  const client = await RawClient.transmit(t, servers.memory, { extended: true })
  for (const offset of [4n * BigInt(MiB), (1n << 53n) + 1n, 1n << 63n, (1n << 64n) - 1n]) {
    for (const [type, error] of [
      [NBD_CMD_READ, NBD_EINVAL],
      [NBD_CMD_WRITE_ZEROES, NBD_ENOSPC],
      [NBD_CMD_TRIM, NBD_EINVAL]
    ] as const)
      t.equal((await client.call({ type, offset, length: 1 })).error, error, `${type} at ${offset}`)
  }
})

void t.test('R47 - lengths of up to 2^64 - 1 stay in bounds', async (t) => {
  const client = await RawClient.transmit(t, servers.memory, { extended: true, meta: ['base:allocation'] })
  for (const length of [4n * BigInt(MiB) + 1n, 1n << 32n, 1n << 53n, 1n << 63n, (1n << 64n) - 1n]) {
    for (const type of [NBD_CMD_READ, NBD_CMD_TRIM, NBD_CMD_CACHE, NBD_CMD_BLOCK_STATUS]) {
      for (const offset of [0, 1]) {
        client.send(extendedRequest({ type, offset, length }))
        t.equal((await client.reply({ type, offset })).error, NBD_EINVAL, `${type} of ${length} at ${offset}`)
      }
    }
    client.send(extendedRequest({ type: NBD_CMD_WRITE_ZEROES, length }))
    t.equal((await client.reply({ type: NBD_CMD_WRITE_ZEROES })).error, NBD_ENOSPC)
  }
})

void t.test('R19 - a READ that fails in the middle is told in the same form', async (t) => {
  const image = imageOf(t, content)
  const server = await Mqnbd.serve(t, [image])
  const client = await RawClient.transmit(t, server, { extended: true })
  const asked = { type: NBD_CMD_READ, offset: 512, length: 2 * MiB }
  t.equal((await client.call(asked)).error, 0)
  fs.truncateSync(image, MiB)
  t.equal((await client.call(asked)).error, NBD_EIO)
  t.equal((await client.call({ type: NBD_CMD_READ, length: MiB })).error, 0, 'and the connection lives on')
})

void t.test('R16 - DISC ends the connection in order', async (t) => {
  const client = await RawClient.transmit(t, servers.memory, { extended: true })
  client.send(extendedRequest({ type: NBD_CMD_FLUSH, cookie: 1n }), extendedRequest({ type: NBD_CMD_DISC }))
  t.equal((await client.reply({ type: NBD_CMD_FLUSH })).error, 0)
  t.equal((await client.closed()).length, 0)
})
