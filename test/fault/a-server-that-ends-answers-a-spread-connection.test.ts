import t from 'tap'
import { setLogLevel } from '../../shared/log/log.ts'
import { emptyImage } from '../helpers/files.ts'
import { openSockets } from '../helpers/proc.ts'
import { RawClient } from '../helpers/raw-client.ts'
import { MiB } from '../helpers/raw-wire.ts'
import { atWork, reads, requestsById, spreadClient } from '../helpers/spread-client.ts'
import { TrialProcess } from '../helpers/trial-process.ts'
import { serveTrial } from '../helpers/trial-server.ts'
import { waitFor, within } from '../helpers/wait-for.ts'

setLogLevel('silent')

/** Requests below are held back, when the test says so. */
const LINE = MiB

void t.test(
  'close - what several threads have in flight is answered, and then the stream ends',
  async (t) => {
    const sockets = openSockets(process.pid)
    const image = emptyImage(t, 4 * MiB)
    const served = await serveTrial(t, { threads: 3, image, busyMs: 1, heldBelow: LINE })
    const client = await spreadClient(t, served, LINE)
    const before = await requestsById(served.server)
    served.control.held = true
    client.send(reads(40, 0, 512))
    await waitFor('all to be held back', () => served.control.waiting === 40)
    const threads = await atWork(served.server, before)
    t.ok(threads > 1, `${threads} threads have taken them`)
    const closed = served.server.close(60_000)
    t.equal(client.pending, 0)
    served.control.held = false
    const seen = new Set<bigint>()
    for (let i = 0; i < 40; i++) {
      const { cookie, error } = await client.simpleReply(() => 512)
      t.equal(error, 0)
      seen.add(cookie)
    }
    t.equal(seen.size, 40)
    t.equal((await client.closed()).length, 0)
    await within('the close', closed)
    client.socket.destroy()
    await waitFor('all sockets to be closed', () => openSockets(process.pid) <= sockets)
  }
)

void t.test('SIGTERM - what a connection of two threads has received is answered', async (t) => {
  const server = await TrialProcess.serve(t, { threads: 2, image: 'memory:1M', busyMs: 5 })
  const client = await RawClient.transmit(t, server)
  const isSpread = async (): Promise<boolean> => {
    client.send(reads(8, 0, 512))
    for (let i = 0; i < 8; i++) await client.simpleReply(() => 512)
    const [counters] = (await server.counters()).connections
    return counters!.threads === 2 && counters!.handOvers > 3
  }
  await waitFor('two threads to serve it', isSpread)
  // They come together, in one piece.
  client.send(reads(8, 0, 512))
  await client.simpleReply(() => 512)
  const ended = server.process.end('SIGTERM')
  for (let i = 1; i < 8; i++) t.equal((await client.simpleReply(() => 512)).error, 0)
  t.equal((await client.closed()).length, 0)
  t.strictSame(await ended, { status: 0, signal: null })
  t.equal(server.process.stderr, '')
})
