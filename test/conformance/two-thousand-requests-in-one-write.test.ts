import t from 'tap'
import { emptyImage } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import { NBD_CMD_FLUSH, NBD_CMD_READ, NBD_CMD_TRIM, NBD_CMD_WRITE } from '../helpers/raw-constants.ts'
import { KiB, MiB, request, u32, type RawRequest } from '../helpers/raw-wire.ts'

const COUNT = 2000
const servers = {
  memory: await Mqnbd.serve(t, ['memory:64M']),
  file: await Mqnbd.serve(t, [emptyImage(t, 64 * MiB)])
}

for (const [kind, server] of Object.entries(servers)) {
  for (const structured of [false, true]) {
    const form = structured ? 'structured' : 'simple'
    void t.test(`pipelining - 2,000 requests in one write are all answered (${kind}, ${form})`, async (t) => {
      const client = await RawClient.transmit(t, server, { structured })
      const answer = async (asked: RawRequest[]): Promise<void> => {
        client.send(Buffer.concat(asked.map((fields, i) => request({ ...fields, cookie: BigInt(i) }))))
        const seen = new Set<bigint>()
        for (const _ of asked) {
          const reply = await client.replyToAny((cookie) => asked[Number(cookie)]!)
          seen.add(reply.cookie)
          const { type, offset } = asked[Number(reply.cookie)]!
          if (reply.error !== 0) t.fail(`error ${reply.error}`)
          if (type === NBD_CMD_READ && reply.data.readUInt32BE(0) !== offset)
            t.fail(`wrong data at ${offset}`)
        }
        t.equal(seen.size, asked.length)
      }
      const offsets = Array.from({ length: COUNT }, (_, i) => i * 32 * KiB)
      await answer(offsets.map((offset) => ({ type: NBD_CMD_WRITE, offset, payload: u32(offset) })))
      await answer(offsets.map((offset) => ({ type: NBD_CMD_READ, offset, length: 4 })))
      await answer(
        offsets.map((offset) => ({ type: NBD_CMD_READ, offset, length: offset === 0 ? 4 : 4 * KiB }))
      )
      const mixed = [NBD_CMD_FLUSH, NBD_CMD_READ, NBD_CMD_TRIM]
      await answer(
        offsets.map((offset, i) => {
          const type = mixed[i % 3]!
          if (type === NBD_CMD_FLUSH) return { type }
          return type === NBD_CMD_READ
            ? { type, offset, length: 4 }
            : { type, offset: offset + 16 * KiB, length: 1 }
        })
      )
      t.equal(client.pending, 0)
    })
  }
}
