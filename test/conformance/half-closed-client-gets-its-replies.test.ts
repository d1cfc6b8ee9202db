import t from 'tap'
import { emptyImage } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_OPT_INFO,
  NBD_OPT_LIST
} from '../helpers/raw-constants.ts'
import { infoPayload, MiB, option, request } from '../helpers/raw-wire.ts'

const unix = await Mqnbd.serve(t, [emptyImage(t, 64 * MiB)])
const tcp = await Mqnbd.serve(t, [emptyImage(t, 64 * MiB), '-p', '0', '-b', '127.0.0.1'])

for (const [kind, served] of Object.entries({ unix, tcp })) {
  void t.test(`half-closed - a client that sends no more gets all its replies (${kind})`, async (t) => {
    const client = await RawClient.transmit(t, served)
    const asked = [
      ...Array.from({ length: 16 }, (_, i) => ({
        type: NBD_CMD_WRITE,
        offset: i * MiB,
        payload: Buffer.alloc(MiB, i)
      })),
      { type: NBD_CMD_FLUSH },
      ...Array.from({ length: 32 }, (_, i) => ({ type: NBD_CMD_READ, offset: (32 + i) * MiB, length: MiB }))
    ]
    client.send(...asked.map((fields, i) => request({ ...fields, cookie: BigInt(i) })))
    client.socket.end()
    const seen = new Set<bigint>()
    for (const _ of asked) {
      const reply = await client.replyToAny((cookie) => asked[Number(cookie)]!)
      t.equal(reply.error, 0)
      seen.add(reply.cookie)
    }
    t.equal(seen.size, asked.length)
    t.equal((await client.closed()).length, 0)
  })

  void t.test(`half-closed - READs that wait for the disk at that time are answered (${kind})`, async (t) => {
    const client = await RawClient.transmit(t, served)
    // Nobody has read this part before: none of it is in the page cache.
    const asked = { type: NBD_CMD_READ, length: MiB }
    const offsets = Array.from({ length: 12 }, (_, i) => (18 + i) * MiB)
    client.socket.end(Buffer.concat(offsets.map((offset) => request({ ...asked, offset }))))
    for (const _ of offsets) t.equal((await client.reply(asked)).error, 0)
    t.equal((await client.closed()).length, 0)
  })

  void t.test(`half-closed - in negotiation, too, what was asked is answered (${kind})`, async (t) => {
    const client = await RawClient.negotiate(t, served)
    client.send(option(NBD_OPT_LIST), option(NBD_OPT_INFO, infoPayload('')))
    client.socket.end()
    t.equal((await client.optionReplies(NBD_OPT_LIST)).length, 2)
    t.ok((await client.optionReplies(NBD_OPT_INFO)).length >= 2)
    t.equal((await client.closed()).length, 0)
  })
}
