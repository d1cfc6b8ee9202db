import t from 'tap'
import { emptyImage } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_FLAG_CAN_MULTI_CONN,
  NBD_OPT_INFO
} from '../helpers/raw-constants.ts'
import { KiB, MiB, request } from '../helpers/raw-wire.ts'

const servers = {
  file: await Mqnbd.serve(t, [emptyImage(t, 16 * MiB), '--iothreads', '3']),
  memory: await Mqnbd.serve(t, ['memory:16M', '--iothreads', '3'])
}

for (const [kind, server] of Object.entries(servers)) {
  void t.test(`R30 - what one connection wrote and had answered, every other reads (${kind})`, async (t) => {
    const clients = await Promise.all(Array.from({ length: 6 }, () => RawClient.transmit(t, server)))
    const info = await RawClient.negotiate(t, server)
    t.ok(((await info.go('', [], NBD_OPT_INFO)).flags & NBD_FLAG_CAN_MULTI_CONN) !== 0, 'it is promised')
    const readers = (writer: number): RawClient[] => clients.filter((_, i) => i !== writer)
    for (let round = 0; round < 60; round++) {
      const writer = round % clients.length
      const length = [512, 4 * KiB, 64 * KiB, 2 * MiB][round % 4]!
      const offset = (round * 4099) % (14 * MiB)
      const payload = Buffer.alloc(length, round + 1)
      const flags = round % 3 === 0 ? NBD_CMD_FLAG_FUA : 0
      t.equal((await clients[writer]!.call({ type: NBD_CMD_WRITE, offset, flags, payload })).error, 0)
      if (round % 3 === 1) await clients[(writer + 1) % clients.length]!.call({ type: NBD_CMD_FLUSH })
      for (const reader of readers(writer)) {
        const { data } = await reader.call({ type: NBD_CMD_READ, offset, length })
        if (!data.equals(payload)) t.fail(`round ${round}: old data`)
      }
    }
    for (const type of [NBD_CMD_TRIM, NBD_CMD_WRITE_ZEROES]) {
      await clients[0]!.call({ type: NBD_CMD_WRITE, payload: Buffer.alloc(4 * KiB, 0xff) })
      await clients[1]!.call({ type, length: 4 * KiB })
      for (const reader of clients) {
        const { data } = await reader.call({ type: NBD_CMD_READ, length: 4 * KiB })
        t.ok(data.equals(Buffer.alloc(4 * KiB)), `after command ${type}`)
      }
    }
  })

  void t.test(
    `R30 - writes of several connections at the same time all arrive whole (${kind})`,
    async (t) => {
      const clients = await Promise.all(Array.from({ length: 6 }, () => RawClient.transmit(t, server)))
      const [size, count] = [20 * KiB, 100]
      const at = (client: number, i: number): number => (i * clients.length + client) * size
      clients.forEach((client, c) => {
        for (let i = 0; i < count; i++) {
          client.send(
            request({ type: NBD_CMD_WRITE, offset: at(c, i), payload: Buffer.alloc(size, c * 40 + i) })
          )
        }
      })
      await Promise.all(
        clients.map(async (client) => {
          for (let i = 0; i < count; i++) t.equal((await client.reply({ type: NBD_CMD_WRITE })).error, 0)
        })
      )
      const all = (await clients[0]!.call({ type: NBD_CMD_READ, length: clients.length * count * size })).data
      for (const c of clients.keys()) {
        for (let i = 0; i < count; i++) {
          const piece = all.subarray(at(c, i), at(c, i) + size)
          if (!piece.equals(Buffer.alloc(size, c * 40 + i))) t.fail(`write ${i} of connection ${c}`)
        }
      }
    }
  )
}

void t.test('R30 - a server for one client at a time does not promise it', async (t) => {
  const client = await RawClient.negotiate(t, await Mqnbd.serve(t, ['memory:1M', '-e', '1']))
  t.equal((await client.go('')).flags & NBD_FLAG_CAN_MULTI_CONN, 0)
})
