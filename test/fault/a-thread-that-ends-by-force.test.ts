import t from 'tap'
import { connect } from '../../client/index.ts'
import { setLogLevel } from '../../shared/log/log.ts'
import { emptyImage } from '../helpers/files.ts'
import { openSockets } from '../helpers/proc.ts'
import { MiB } from '../helpers/raw-wire.ts'
import { EXIT } from '../helpers/raw-entry-points.ts'
import { atWork, reads, requestsById, spreadClient } from '../helpers/spread-client.ts'
import { serveTrial } from '../helpers/trial-server.ts'
import { waitFor, within } from '../helpers/wait-for.ts'

setLogLevel('silent')

/** Requests below are held back, when the test says so. */
const LINE = MiB
const THREADS = 3

for (const [which, number] of [
  ['the thread where it began', 0],
  ['another thread', THREADS - 1]
] as const) {
  void t.test(`a spread connection - ${which} exits with requests in flight`, async (t) => {
    const image = emptyImage(t, 4 * MiB)
    const served = await serveTrial(t, { threads: THREADS, image, busyMs: 1, heldBelow: LINE })
    const sockets = openSockets(process.pid)
    const client = await spreadClient(t, served, LINE)
    const before = await requestsById(served.server)
    served.control.held = true
    client.send(reads(40, 0, 512))
    await waitFor('all to be held back', () => served.control.waiting === 40)
    const threads = await atWork(served.server, before)
    t.ok(threads > 1, `${threads} threads have taken them`)
    const fault = new Promise<number>((resolve) => {
      served.server.onFault = (_error, left) => resolve(left)
    })
    await served.threads[number]!.run(EXIT, 1).catch(() => undefined)
    t.equal(await within('onFault', fault), THREADS - 1)
    t.equal((await client.closed()).length, 0, 'the client is told by the end of the stream')
    served.control.held = false
    await waitFor('its end', async () => (await served.server.counters()).connections.length === 0)
    client.socket.destroy()
    await waitFor('its sockets to be closed', () => openSockets(process.pid) <= sockets)
    // What the thread had in flight does not hold up a drain.
    await within('the drain', served.server.drain(''))
    served.server.resume('')
    const disk = await connect(served.uri)
    t.equal((await disk.read(0, 512)).length, 512, 'the others serve on')
    await disk.close()
  })
}
