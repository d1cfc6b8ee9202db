import * as crypto from 'node:crypto'
import t from 'tap'
import { Bystander } from '../helpers/bystander.ts'
import { endpoints } from '../helpers/endpoints.ts'
import { MiB } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { openSockets } from '../helpers/proc.ts'
import { RawClient } from '../helpers/raw-client.ts'
import type { Test } from '../helpers/requires.ts'
import { waitFor } from '../helpers/wait-for.ts'

const phases: Record<string, (t: Test, server: Mqnbd) => Promise<RawClient>> = {
  'instead of a handshake': (t, server) => RawClient.connect(t, server),
  'instead of an option': (t, server) => RawClient.negotiate(t, server),
  'instead of a request': (t, server) => RawClient.transmit(t, server),
  'instead of a request, after structured replies were chosen': (t, server) =>
    RawClient.transmit(t, server, { structured: true, meta: ['base:allocation'] })
}

/** The same bytes in each run: what is found once can be found again. */
const garbage = (seed: string, length: number): Buffer =>
  crypto
    .createCipheriv('aes-128-ctr', crypto.hash('md5', seed, 'buffer'), Buffer.alloc(16))
    .update(Buffer.alloc(length))

for (const [where, address] of Object.entries(endpoints)) {
  void t.test(`garbage - ends the connection, and no other, ${where}`, async (t) => {
    const server = await Mqnbd.serve(t, ['memory:2M', '--iothreads', '1', '--log-level', 'fatal', ...address])
    const bystander = await Bystander.start(t, server, MiB)
    const sockets = openSockets(server.process.pid)
    for (const [phase, connect] of Object.entries(phases)) {
      for (const length of [28, 100, 5000, 300_000]) {
        const client = await connect(t, server)
        client.send(garbage(phase, length))
        await client.closed()
      }
      await waitFor('the server to let go', () => openSockets(server.process.pid) === sockets)
      await t.resolves(bystander.goesOn(), phase)
    }
    await bystander.stop()
    t.same(await server.process.end(), { status: 0, signal: null })
  })
}
