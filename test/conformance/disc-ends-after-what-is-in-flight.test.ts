import t from 'tap'
import { emptyImage, readAt } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_CMD_DISC,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_WRITE
} from '../helpers/raw-constants.ts'
import { MiB, request } from '../helpers/raw-wire.ts'

const image = emptyImage(t, 128 * MiB)
const server = await Mqnbd.serve(t, [image])

void t.test('R16 - DISC is not answered, and the server closes the connection', async (t) => {
  for (const structured of [false, true]) {
    const client = await RawClient.transmit(t, server, { structured })
    client.send(request({ type: NBD_CMD_DISC }))
    t.equal((await client.closed()).length, 0)
  }
})

void t.test('R16 - DISC with flags, an offset or a length is DISC all the same', async (t) => {
  for (const fields of [
    { flags: NBD_CMD_FLAG_FUA },
    { flags: 0xffff },
    { offset: (1n << 64n) - 1n },
    { length: 0xffffffff },
    { flags: 0x8000, offset: 512, length: 512, cookie: 3n }
  ]) {
    const client = await RawClient.transmit(t, server)
    client.send(request({ type: NBD_CMD_DISC, ...fields }))
    t.equal((await client.closed()).length, 0)
  }
})

void t.test('R16 - requests in front of DISC are all carried out and answered', async (t) => {
  for (const structured of [false, true]) {
    const client = await RawClient.transmit(t, server, { structured })
    const payload = Buffer.alloc(2 * MiB, 0xa1 + Number(structured))
    const asked = [
      ...Array.from({ length: 8 }, (_, i) => ({ type: NBD_CMD_WRITE, offset: i * payload.length, payload })),
      { type: NBD_CMD_WRITE, offset: 40 * MiB, payload, flags: NBD_CMD_FLAG_FUA },
      { type: NBD_CMD_FLUSH }
    ]
    client.send(...asked.map((fields, i) => request({ ...fields, cookie: BigInt(i) })))
    client.send(request({ type: NBD_CMD_DISC }))
    const seen = new Set<bigint>()
    for (const _ of asked) {
      // Replies come in any order; the cookie tells which request it is to.
      const reply = await client.replyToAny((cookie) => asked[Number(cookie)]!)
      t.equal(reply.error, 0)
      seen.add(reply.cookie)
    }
    t.equal(seen.size, asked.length)
    t.equal((await client.closed()).length, 0)
    t.ok(readAt(image, 7 * payload.length, payload.length).equals(payload))
    t.ok(readAt(image, 40 * MiB, payload.length).equals(payload))
  }
})

void t.test('R16 - READs that wait for the disk when DISC comes are all answered', async (t) => {
  for (const structured of [false, true]) {
    const client = await RawClient.transmit(t, server, { structured })
    // Nobody has read these parts before: none is in the page cache.
    const first = structured ? 80 : 100
    const asked = Array.from({ length: 16 }, (_, i) => ({
      type: NBD_CMD_READ,
      cookie: BigInt(i),
      offset: (first + i) * MiB,
      length: MiB
    }))
    client.send(Buffer.concat([...asked.map(request), request({ type: NBD_CMD_DISC })]))
    const seen = new Set<bigint>()
    for (const _ of asked) seen.add((await client.replyToAny((cookie) => asked[Number(cookie)]!)).cookie)
    t.equal(seen.size, asked.length)
    t.equal((await client.closed()).length, 0)
  }
})

void t.test('R16 - requests behind DISC are not carried out', async (t) => {
  const client = await RawClient.transmit(t, server)
  const write = request({ type: NBD_CMD_WRITE, offset: 60 * MiB, payload: Buffer.alloc(512, 1) })
  client.send(Buffer.concat([request({ type: NBD_CMD_DISC }), write]))
  t.equal((await client.closed()).length, 0)
  t.ok(readAt(image, 60 * MiB, 512).equals(Buffer.alloc(512)))
})
