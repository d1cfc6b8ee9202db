import t from 'tap'
import { emptyImage, imageOf } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { residentBytes } from '../helpers/proc.ts'
import { RawClient } from '../helpers/raw-client.ts'
import { NBD_CMD_READ, NBD_CMD_WRITE } from '../helpers/raw-constants.ts'
import { KiB, MiB, request, type RawRequest } from '../helpers/raw-wire.ts'

/** What one connection may cost: 64 MiB in flight, in pieces up to twice as large as their contents, and some. */
const BOUND = 192 * MiB

const servers = {
  'a file': await Mqnbd.serve(t, [imageOf(t, Buffer.alloc(64 * MiB, 1)), '--iothreads', '1']),
  'a hole': await Mqnbd.serve(t, [emptyImage(t, 64 * MiB), '--iothreads', '1']),
  'a memory disk': await Mqnbd.serve(t, ['memory:64M', '--iothreads', '1'])
}
const requests: Record<string, RawRequest> = {
  'READs of 1 MiB': { type: NBD_CMD_READ, length: MiB },
  'READs of 32 MiB': { type: NBD_CMD_READ, length: 32 * MiB },
  'READs of 16 KiB': { type: NBD_CMD_READ, length: 16 * KiB },
  'refused READs': { type: NBD_CMD_READ, length: 0xffffffff }
}

for (const [kind, server] of Object.entries(servers)) {
  for (const [what, asked] of Object.entries(requests)) {
    void t.test(
      `memory - a client that reads no replies to its ${what} costs a bounded amount (${kind})`,
      async (t) => {
        const silent = await RawClient.transmit(t, server, { structured: true })
        const other = await RawClient.transmit(t, server)
        const before = residentBytes(server.process.pid)
        silent.socket.pause()
        const batch = Buffer.concat(
          Array.from({ length: 1000 }, (_, i) => request({ ...asked, cookie: BigInt(i) }))
        )
        let refused = false
        let most = 0
        for (let round = 0; round < 100; round++) {
          refused ||= !silent.socket.write(batch)
          // The other client is served all the while, by the same thread.
          t.equal((await other.call({ type: NBD_CMD_READ, offset: 5, length: 100 })).error, 0)
          t.equal(
            (await other.call({ type: NBD_CMD_WRITE, offset: MiB, payload: Buffer.alloc(100) })).error,
            0
          )
          most = Math.max(most, residentBytes(server.process.pid) - before)
        }
        t.ok(refused, 'the server did not take all the requests')
        t.ok(most < BOUND, `grew by ${Math.round(most / MiB)} MiB`)
        silent.socket.destroy()
      }
    )
  }
}
