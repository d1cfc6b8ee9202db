import t from 'tap'
import { setLogLevel } from '../../shared/log/log.ts'
import { emptyImage } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { hasSharedSocket, openSockets } from '../helpers/proc.ts'
import { RawClient } from '../helpers/raw-client.ts'
import { MiB } from '../helpers/raw-wire.ts'
import { atWork, reads, requestsById, spreadClient } from '../helpers/spread-client.ts'
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
    await waitFor('all sockets to be closed', () => openSockets(process.pid) === sockets)
  }
)

void t.test('SIGTERM - to a process of which two threads serve a connection: no reply is cut', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:64M', '--iothreads', '2'])
  const client = await RawClient.transmit(t, server)
  // Large enough to be heavy for any machine.
  const length = 4 * MiB
  const round = async (): Promise<void> => {
    client.send(reads(8, 0, length))
    for (let i = 0; i < 8; i++) await client.simpleReply(() => length)
  }
  await waitFor('two threads to serve it', async () => {
    await round()
    return hasSharedSocket(server.process.pid)
  })
  client.send(reads(8, 0, length))
  const ended = server.process.end('SIGTERM')
  let replies = 0
  const end = await untilEnd(async () => {
    const { error } = await client.simpleReply(() => length)
    t.equal(error, 0)
    replies++
  })
  t.match(end, /^the server closed the connection: 0 of 4 bytes$/, `behind ${replies} replies`)
  t.strictSame(await ended, { status: 0, signal: null })
  t.equal(server.process.stderr, '')
})

/** Does it until it fails. @returns why */
async function untilEnd(step: () => Promise<void>): Promise<string> {
  for (;;) {
    try {
      await step()
    } catch (error) {
      return (error as Error).message
    }
  }
}
