import t from 'tap'
import { setLogLevel } from '../../shared/log/log.ts'
import { Bystander } from '../helpers/bystander.ts'
import { emptyImage } from '../helpers/files.ts'
import { openSockets } from '../helpers/proc.ts'
import { RawClient } from '../helpers/raw-client.ts'
import { KiB, MiB } from '../helpers/raw-wire.ts'
import { atWork, keepReading, reads, requestsById, spreadClient } from '../helpers/spread-client.ts'
import { TrialProcess } from '../helpers/trial-process.ts'
import { serveTrial } from '../helpers/trial-server.ts'
import { waitFor } from '../helpers/wait-for.ts'

setLogLevel('silent')

const SIZE = 64 * MiB
/** Requests below are held back, when the test says so. */
const LINE = MiB
const THREADS = 3

/** What a client's connection is like when it is reset. */
const stages: Record<string, (server: TrialProcess, client: RawClient) => Promise<unknown>> = {
  'replies are on their way': async () => undefined,
  'replies have no room': async (server, client) => {
    client.socket.pause()
    client.send(reads(100, LINE, 4 * MiB))
    let last = -1
    let same = 0
    await waitFor('the server to be held up', async () => {
      const { requests } = await newest(server)
      same = requests === last ? same + 1 : 0
      last = requests
      return same === 5
    })
  }
}

/** The connection that began last. */
async function newest(
  server: TrialProcess
): Promise<{ requests: number; threads: number; handOvers: number }> {
  return (await server.counters()).connections.at(-1)!
}

for (const [stage, reach] of Object.entries(stages)) {
  void t.test(`reset - while ${stage}: the connection ends once, in all its threads`, async (t) => {
    const image = `memory:${SIZE}`
    const options = { threads: THREADS, image, busyMs: 1, tcp: true, logLevel: 'info' as const }
    const server = await TrialProcess.serve(t, options)
    const bystander = await Bystander.start(t, server, 0)
    await bystander.goesOn()
    const sockets = openSockets(server.process.pid)
    for (let round = 1; round <= 3; round++) {
      const client = await RawClient.transmit(t, server)
      const lost = keepReading(client, LINE, 4 * KiB)
      await waitFor('its threads', async () => {
        const { threads, handOvers } = await newest(server)
        return threads === THREADS && handOvers > 10
      })
      await reach(server, client)
      client.socket.resetAndDestroy()
      await lost
      await waitFor('its end', async () => (await server.counters()).connections.length === 1)
      await waitFor('its descriptors to be closed', () => openSockets(server.process.pid) === sockets)
      await bystander.goesOn()
      const told = (what: RegExp): number => server.process.stderr.match(what)?.length ?? 0
      await waitFor('its end to be told', () => told(/client disconnected/g) === round)
      t.equal(told(/connection ended/g), round, 'why is told once')
    }
    await bystander.stop()
    t.notMatch(server.process.stderr, /"level":[456]0/, 'and is nothing to worry about')
  })
}

void t.test('reset - while requests are held back: they end with the connection', async (t) => {
  const image = emptyImage(t, SIZE)
  const served = await serveTrial(t, { threads: THREADS, image, busyMs: 1, heldBelow: LINE, tcp: true })
  const client = await spreadClient(t, served, LINE)
  const bystander = await Bystander.start(t, served, 2 * LINE)
  const sockets = openSockets(process.pid)
  const before = await requestsById(served.server)
  served.control.held = true
  client.send(reads(40, 0, 512))
  await waitFor('all to be held back', () => served.control.waiting === 40)
  const threads = await atWork(served.server, before)
  t.ok(threads > 1, `${threads} threads have taken them`)
  client.socket.resetAndDestroy()
  await bystander.goesOn()
  served.control.held = false
  await waitFor('its end', async () => (await served.server.counters()).connections.length === 1)
  await waitFor('its descriptors to be closed', () => openSockets(process.pid) < sockets)
  await bystander.goesOn()
  await bystander.stop()
})
