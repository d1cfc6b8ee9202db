import t from 'tap'
import { emptyImage, imageOf } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_CACHE,
  NBD_CMD_FLAG_DF,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_EINVAL,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_ERROR,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE
} from '../helpers/raw-constants.ts'
import { KiB, MiB, request, type RawRequest } from '../helpers/raw-wire.ts'

const content = Buffer.from(Uint32Array.from({ length: MiB }, (_, i) => i).buffer)
const servers = {
  file: await Mqnbd.serve(t, [imageOf(t, content)]),
  memory: await Mqnbd.serve(t, ['memory:4M'])
}
const LENGTHS = [1, 511, 512, 4096, 32 * KiB - 1, 32 * KiB, 100_001, 128 * KiB, 128 * KiB + 1, MiB, 3 * MiB]

for (const [kind, server] of Object.entries(servers)) {
  for (const structured of [false, true]) {
    const form = structured ? 'structured' : 'simple'
    void t.test(
      `R22 - ${form} READs of any length bring all of the data, and nothing else (${kind})`,
      async (t) => {
        const client = await RawClient.transmit(t, server, { structured })
        await client.call({ type: NBD_CMD_WRITE, payload: content })
        for (const length of LENGTHS) {
          for (const offset of [0, 1, 4095, content.length - length]) {
            const { data, chunks } = await client.call({ type: NBD_CMD_READ, offset, length, cookie: 8n })
            const good =
              data.equals(content.subarray(offset, offset + length)) && chunks.length > 0 === structured
            if (!good) t.fail(`${length} bytes at ${offset}, ${chunks.length} chunks`)
          }
        }
        t.equal(client.pending, 0)
      }
    )
  }
}

void t.test('SHOULD - a READ from the page cache, of up to 1 MiB, is one chunk', async (t) => {
  const client = await RawClient.transmit(t, servers.file, { structured: true })
  for (const length of [4096, 32 * KiB, 100_001, 512 * KiB + 1, MiB]) {
    const { chunks } = await client.call({ type: NBD_CMD_READ, offset: 4096, length })
    t.strictSame(
      chunks.map(({ flags, payload }) => [flags, payload.length]),
      [[NBD_REPLY_FLAG_DONE, 8 + length]]
    )
  }
})

void t.test('holes - a READ of 32 KiB or more is a hole chunk where there are only holes', async (t) => {
  const length = 32 * KiB
  for (const image of [emptyImage(t, 4 * MiB), 'memory:4M']) {
    const server = await Mqnbd.serve(t, [image])
    const simple = await RawClient.transmit(t, server)
    for (const form of [{ structured: true }, { extended: true }]) {
      const client = await RawClient.transmit(t, server, form)
      await simple.call({ type: NBD_CMD_TRIM, length: 4 * MiB })
      const read = async (offset: number, flags = 0): Promise<[number, Buffer]> => {
        const { data, chunks } = await client.call({ type: NBD_CMD_READ, flags, offset, length })
        t.equal(chunks.length, 1)
        t.equal(chunks[0]!.flags, NBD_REPLY_FLAG_DONE)
        return [chunks[0]!.type, data]
      }
      const zeroes = Buffer.alloc(length)
      t.strictSame(await read(MiB), [NBD_REPLY_TYPE_OFFSET_HOLE, zeroes])
      // Zeroes are cached from here on.
      t.ok((await simple.call({ type: NBD_CMD_READ, offset: MiB, length })).data.equals(zeroes))
      t.strictSame(await read(MiB, NBD_CMD_FLAG_DF), [NBD_REPLY_TYPE_OFFSET_HOLE, zeroes])
      await simple.call({ type: NBD_CMD_WRITE, offset: MiB + 4096, payload: Buffer.alloc(4096, 7) })
      const [type, data] = await read(MiB)
      t.equal(type, NBD_REPLY_TYPE_OFFSET_DATA)
      t.ok(data.equals(Buffer.concat([Buffer.alloc(4096), Buffer.alloc(4096, 7), Buffer.alloc(24 * KiB)])))
    }
  }
})

void t.test('R18 - no structured reply to a client that did not ask for them, for no command', async (t) => {
  const client = await RawClient.transmit(t, servers.memory)
  for (let type = 0; type < 10; type++) {
    if (type === 2) continue
    for (const length of [0, 512, 0xffffffff]) {
      if (type === NBD_CMD_WRITE && length > 512) continue
      const payload = type === NBD_CMD_WRITE ? { payload: Buffer.alloc(length) } : {}
      t.equal((await client.call({ type, length, ...payload })).chunks.length, 0, `command ${type}`)
    }
  }
})

void t.test(
  'R18 - a structured READ is never answered by a simple reply, also when it is refused',
  async (t) => {
    const client = await RawClient.transmit(t, servers.memory, { structured: true })
    const refused: RawRequest[] = [
      { type: NBD_CMD_READ, offset: 4 * MiB, length: 1 },
      { type: NBD_CMD_READ, offset: (1n << 64n) - 1n, length: 2 },
      { type: NBD_CMD_READ, flags: 0x8000, length: 1 },
      { type: NBD_CMD_READ, length: 0xffffffff }
    ]
    for (const asked of refused) {
      client.send(request({ ...asked, cookie: 6n }))
      const chunk = await client.chunk()
      t.equal(chunk.type, NBD_REPLY_TYPE_ERROR)
      t.equal(chunk.flags, NBD_REPLY_FLAG_DONE)
      t.equal(chunk.cookie, 6n)
      t.equal(chunk.payload.readUInt32BE(0), NBD_EINVAL)
      const text = chunk.payload.toString('utf8', 6)
      t.equal(Buffer.byteLength(text), chunk.payload.readUInt16BE(4))
      t.match(text, /NBD_CMD_READ/, 'it says what was wrong')
    }
    t.equal((await client.call({ type: NBD_CMD_READ, length: 0 })).error, 0, 'READ of no bytes')
  }
)

void t.test('R18 - what needs no data may be answered in either form, by the right cookie', async (t) => {
  const client = await RawClient.transmit(t, servers.memory, { meta: ['base:allocation'] })
  for (const type of [
    NBD_CMD_FLUSH,
    NBD_CMD_TRIM,
    NBD_CMD_CACHE,
    NBD_CMD_WRITE_ZEROES,
    NBD_CMD_BLOCK_STATUS
  ]) {
    const length = type === NBD_CMD_FLUSH ? 0 : 512
    const reply = await client.call({ type, length, cookie: BigInt(type) })
    t.equal(reply.error, 0)
    t.equal(reply.cookie, BigInt(type))
  }
})

void t.test('DF - a READ of 64 KiB across data and hole is one content chunk', async (t) => {
  const client = await RawClient.transmit(t, servers.memory, { structured: true })
  await client.call({ type: NBD_CMD_WRITE_ZEROES, length: 64 * KiB })
  await client.call({ type: NBD_CMD_WRITE, offset: 8192, payload: Buffer.alloc(4096, 9) })
  const reply = await client.call({ type: NBD_CMD_READ, flags: NBD_CMD_FLAG_DF, length: 64 * KiB })
  t.equal(reply.error, 0)
  t.equal(reply.chunks.filter(({ payload }) => payload.length > 0).length, 1)
  t.equal(reply.data.readUInt8(8192), 9)
})
