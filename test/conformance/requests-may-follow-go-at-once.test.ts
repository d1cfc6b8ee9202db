/**
 * A client may send requests behind NBD_OPT_GO without waiting for the answer. The thread that negotiates may have
 * received them when it gives the connection to the thread that serves the export.
 */
import t, { type Test } from 'tap'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_DISC,
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_FLAG_C_FIXED_NEWSTYLE,
  NBD_FLAG_C_NO_ZEROES,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_GO,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK
} from '../helpers/raw-constants.ts'
import { serveBound, type Bound } from '../helpers/raw-server.ts'
import { infoPayload, metaPayload, option, request, u32, type RawRequest } from '../helpers/raw-wire.ts'

const FLAGS = u32(NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES)
const BLOCK = 8192

/** More than one receive brings. */
const writes: RawRequest[] = Array.from({ length: 40 }, (_, i) => ({
  type: NBD_CMD_WRITE,
  cookie: BigInt(i),
  offset: i * BLOCK,
  payload: Buffer.alloc(BLOCK, i + 1)
}))
// A read may overtake a write, so they come when the writes are answered.
const reads: RawRequest[] = writes.map(({ cookie, offset }) => ({
  type: NBD_CMD_READ,
  cookie: cookie!,
  offset: offset!,
  length: BLOCK
}))

/**
 * Two exports, each with a thread of its own. A client of `b` keeps the second thread busier than the first, which thus
 * negotiates with all others: clients of `b` are handed over, those of `a` stay.
 */
async function serve(t: Test): Promise<Bound> {
  const server = await serveBound(t, 2, { a: [0], b: [1] })
  await RawClient.transmit(t, server, { name: 'b' })
  return server
}

async function answered(client: RawClient, asked: RawRequest[]): Promise<Map<bigint, Buffer>> {
  const byCookie = new Map(asked.map((one) => [one.cookie!, one]))
  const data = new Map<bigint, Buffer>()
  while (data.size < asked.length) {
    const reply = await client.replyToAny((cookie) => byCookie.get(cookie)!)
    if (reply.error !== 0) throw new Error(`request ${reply.cookie}: error ${reply.error}`)
    data.set(reply.cookie, reply.data)
  }
  return data
}

/** The writes are on their way; reads them back, and leaves. */
async function allServed(t: Test, client: RawClient): Promise<void> {
  t.equal((await answered(client, writes)).size, writes.length, 'every write is answered')
  client.send(...reads.map(request), request({ type: NBD_CMD_DISC }))
  const data = await answered(client, reads)
  const wrong = reads.filter(({ cookie }, i) => !data.get(cookie!)!.equals(Buffer.alloc(BLOCK, i + 1)))
  t.equal(wrong.length, 0, 'and has written what was sent')
  t.equal((await client.closed()).length, 0)
}

/** All that a client sends up to the end of its writes, by the option that it chooses the export with. */
const ways: Record<string, (name: string) => Buffer> = {
  NBD_OPT_GO: (name) => option(NBD_OPT_GO, infoPayload(name)),
  NBD_OPT_EXPORT_NAME: (name) => option(NBD_OPT_EXPORT_NAME, Buffer.from(name))
}

async function readAnswer(client: RawClient, way: string): Promise<void> {
  await client.read(18)
  if (way === 'NBD_OPT_EXPORT_NAME') await client.read(10)
  else if ((await client.optionReplies(NBD_OPT_GO)).pop()!.type !== NBD_REP_ACK) throw new Error('no ACK')
}

for (const [way, choose] of Object.entries(ways)) {
  for (const name of ['a', 'b']) {
    const where = name === 'a' ? 'in the thread that negotiates' : 'in another thread'
    void t.test(`${way} - with all requests in one write, served ${where}`, async (t) => {
      const server = await serve(t)
      for (let i = 0; i < 10; i++) {
        const client = await RawClient.connect(t, server)
        client.send(Buffer.concat([FLAGS, choose(name), ...writes.map(request)]))
        await readAnswer(client, way)
        await allServed(t, client)
      }
    })

    void t.test(`${way} - cut at every place around it, served ${where}`, async (t) => {
      const server = await serve(t)
      const start = Buffer.concat([FLAGS, choose(name)])
      const all = Buffer.concat([start, ...writes.map(request)])
      for (let cut = start.length - 2; cut < start.length + 32; cut++) {
        const client = await RawClient.connect(t, server)
        client.socket.setNoDelay(true)
        await client.sent(all.subarray(0, cut))
        client.send(all.subarray(cut))
        await readAnswer(client, way)
        const data = await answered(client, writes)
        if (data.size !== writes.length) t.fail(`cut at ${cut}`)
        client.send(request({ type: NBD_CMD_DISC }))
        await client.closed()
      }
      t.pass('every request was answered')
    })
  }
}

void t.test('NBD_OPT_GO - what was negotiated goes with the connection', async (t) => {
  const server = await serve(t)
  for (const name of ['a', 'b']) {
    const client = await RawClient.connect(t, server)
    const status = { type: NBD_CMD_BLOCK_STATUS, cookie: 7n, offset: 0, length: 65536 }
    client.send(
      Buffer.concat([
        FLAGS,
        option(NBD_OPT_STRUCTURED_REPLY),
        option(NBD_OPT_SET_META_CONTEXT, metaPayload(name, ['base:allocation'])),
        option(NBD_OPT_GO, infoPayload(name)),
        request(status)
      ])
    )
    await client.read(18)
    await client.optionReplies(NBD_OPT_STRUCTURED_REPLY)
    client.structured = true
    const [context] = await client.optionReplies(NBD_OPT_SET_META_CONTEXT)
    await client.optionReplies(NBD_OPT_GO)
    const { error, extents } = await client.reply(status)
    t.equal(error, 0)
    t.same([...extents.keys()], [context!.payload.readUInt32BE(0)], 'the id that was announced')
    t.equal(
      extents
        .values()
        .next()
        .value!.reduce((sum, { length }) => sum + length, 0),
      65536
    )
    client.socket.destroy()
  }
})

void t.test('NBD_OPT_GO - a client that closes its half behind its requests gets all replies', async (t) => {
  const server = await serve(t)
  for (const name of ['a', 'b']) {
    const client = await RawClient.connect(t, server)
    client.socket.end(Buffer.concat([FLAGS, option(NBD_OPT_GO, infoPayload(name)), ...writes.map(request)]))
    await readAnswer(client, 'NBD_OPT_GO')
    t.equal((await answered(client, writes)).size, writes.length)
    t.equal((await client.closed()).length, 0)
  }
})
