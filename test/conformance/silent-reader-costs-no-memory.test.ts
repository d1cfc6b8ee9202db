import t from 'tap'
import { emptyImage, imageOf } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { residentBytes } from '../helpers/proc.ts'
import { RawClient } from '../helpers/raw-client.ts'
import { NBD_CMD_READ, NBD_CMD_WRITE } from '../helpers/raw-constants.ts'
import { KiB, MiB, request } from '../helpers/raw-wire.ts'

/** What one connection may cost: 64 MiB in flight, in pieces up to twice as large as their contents, and some. */
const BOUND = 192 * MiB

const SIZE = 64 * MiB
const HOLE_SIZE = 4096 * MiB

// Of a hole nothing is in the page cache when it is read for the first time.
const servers = {
  'a file': await Mqnbd.serve(t, [imageOf(t, Buffer.alloc(SIZE, 1)), '--iothreads', '1']),
  'a hole': await Mqnbd.serve(t, [emptyImage(t, HOLE_SIZE), '--iothreads', '1']),
  'a memory disk': await Mqnbd.serve(t, [`memory:${SIZE}`, '--iothreads', '1'])
}
const lengths = { '1 MiB': MiB, '32 MiB': 32 * MiB, '16 KiB': 16 * KiB, 'far too much': 0xffffffff }

for (const [kind, server] of Object.entries(servers)) {
  for (const [what, length] of Object.entries(lengths)) {
    void t.test(
      `memory - a client that reads no replies to its READs of ${what} costs a bounded amount (${kind})`,
      async (t) => {
        const silent = await RawClient.transmit(t, server, { structured: true })
        const other = await RawClient.transmit(t, server)
        const before = residentBytes(server.process.pid)
        silent.socket.pause()
        const size = kind === 'a hole' ? HOLE_SIZE : SIZE
        const batch = Buffer.concat(
          Array.from({ length: 1000 }, (_, i) =>
            request({ type: NBD_CMD_READ, cookie: BigInt(i), offset: (i * length) % size, length })
          )
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
