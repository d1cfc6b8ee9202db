import t from 'tap'
import { endpoints } from '../helpers/endpoints.ts'
import { emptyImage, MiB } from '../helpers/files.ts'
import { runOk } from '../helpers/launched.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { openDescriptors, openSockets, residentBytes } from '../helpers/proc.ts'
import { RawClient } from '../helpers/raw-client.ts'
import { NBD_CMD_DISC, NBD_CMD_WRITE } from '../helpers/raw-constants.ts'
import { request } from '../helpers/raw-wire.ts'
import { program, requires, type Test } from '../helpers/requires.ts'
import { waitFor } from '../helpers/wait-for.ts'

/** How many clients are there at a time. */
const TOGETHER = 20

/** A client that uses the export and says good-bye. */
async function polite(t: Test, server: Mqnbd): Promise<void> {
  const client = await RawClient.transmit(t, server)
  await client.call({ type: NBD_CMD_WRITE, offset: 4096, payload: Buffer.alloc(100_000, 'polite') })
  client.send(request({ type: NBD_CMD_DISC }))
  await client.closed()
}

/** A client that is gone in the middle of a request. */
async function impolite(t: Test, server: Mqnbd): Promise<void> {
  const client = await RawClient.transmit(t, server)
  const bytes = request({ type: NBD_CMD_WRITE, offset: 4096, payload: Buffer.alloc(100_000, 'gone') })
  await client.sent(bytes.subarray(0, 50_000))
  if (server.socket === undefined) client.socket.resetAndDestroy()
  else client.socket.destroy()
}

async function many(count: number, client: () => Promise<unknown>): Promise<void> {
  for (let done = 0; done < count; done += TOGETHER) {
    await Promise.all(Array.from({ length: Math.min(TOGETHER, count - done) }, client))
  }
}

for (const [where, address] of Object.entries(endpoints)) {
  void t.test(`connections - 450 of them leave nothing behind, ${where}`, requires('nbdinfo'), async (t) => {
    const server = await Mqnbd.serve(t, [emptyImage(t, MiB), '--iothreads', '2', ...address])
    const { pid } = server.process
    const sockets = openSockets(pid)
    const allGone = async (): Promise<void> => {
      // Who comes last is accepted last.
      await polite(t, server)
      await waitFor('all to be gone', () => openSockets(pid) === sockets)
    }
    // The first ones bring what stays: buffers, threads of the pool.
    await many(40, () => polite(t, server))
    await many(40, () => impolite(t, server))
    await allGone()
    const descriptors = openDescriptors(pid).length
    const resident = residentBytes(pid)

    await many(200, () => polite(t, server))
    await many(200, () => impolite(t, server))
    await many(50, () => runOk(t, program('nbdinfo'), ['--size', server.uri]))

    await allGone()
    t.equal(openDescriptors(pid).length, descriptors, 'no descriptor is left open')
    const growth = residentBytes(pid) - resident
    t.ok(growth < 64 * MiB, `the server has grown by ${growth} bytes`)
    await t.resolves(polite(t, server), 'and it serves on')
  })
}
