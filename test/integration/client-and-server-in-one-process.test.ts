import * as crypto from 'node:crypto'
import t, { type Test } from 'tap'
import { connect, type NBDDisk } from '../../client/index.ts'
import {
  IOThread,
  loadServerCreds,
  NBDServer,
  QIOChannelPair,
  type NBDServerOptions
} from '../../server/index.ts'
import { openImage } from '../../shared/block/index.ts'
import { setLogLevel } from '../../shared/log/log.ts'
import { DIE } from '../helpers/raw-entry-points.ts'
import { requires } from '../helpers/requires.ts'
import { TestCA } from '../helpers/tls-certs.ts'
import { waitFor, within } from '../helpers/wait-for.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'

const CLOSE_MS = 5000

async function start(t: Test, options: NBDServerOptions = {}): Promise<NBDServer> {
  const server = await NBDServer.start({ iothreads: 1, ...options })
  t.teardown(() => server.close(CLOSE_MS))
  return server
}

function join(server: NBDServer, exportName = ''): Promise<NBDDisk> {
  const [channel, served] = QIOChannelPair.create()
  server.serveChannel(served)
  return connect({ channel, exportName })
}

void t.test('in process - a disk and its server', async (t) => {
  const server = await start(t)
  await server.addExport(await openImage({ image: 'memory:4M' }))
  const disk = await join(server)
  t.equal(disk.size, 4 * 1024 * 1024)
  t.equal(disk.packets, 'extended')
  const data = crypto.randomBytes(1024 * 1024)
  const pieces = Array.from({ length: 64 }, (_, i) => data.subarray(i * 16384, (i + 1) * 16384))
  await Promise.all(pieces.map((piece, i) => disk.write(i * 16384, piece)))
  t.ok(data.equals(await disk.read(0, data.length)))
  const other = await join(server)
  t.ok(data.equals(await other.read(0, data.length)), 'another connection sees the same')
  await other.close()
  await disk.close()
  await waitFor('the server to see them go', async () => (await server.counters()).connections.length === 0)
})

void t.test('in process - exports of several threads', async (t) => {
  const threads = [await IOThread.start('io0'), await IOThread.start('io1')]
  t.teardown(() => Promise.all(threads.map((thread) => thread.stop())))
  const server = await NBDServer.start()
  for (const [i, thread] of threads.entries())
    await server.addExport(await openImage({ image: `memory:${i + 1}M` }), {
      name: `disk${i}`,
      iothreads: [thread]
    })
  // Whichever thread negotiates, one of them is in another.
  for (let round = 0; round < 4; round++) {
    const disks = await Promise.all(['disk0', 'disk1'].map((name) => join(server, name)))
    t.strictSame(
      disks.map(({ size }) => size),
      [1 << 20, 2 << 20]
    )
    for (const [i, disk] of disks.entries()) {
      await disk.write(round, Buffer.of(i + 1))
      t.strictSame(await disk.read(0, round + 1), Buffer.alloc(round + 1, i + 1))
    }
    await Promise.all(disks.map((disk) => disk.close()))
  }
  const { kind, message } = await failureOf(join(server, 'none'))
  t.equal(kind, 'request')
  t.match(message, /^cannot open 'a channel': .*no such export/)
  await server.close(CLOSE_MS)
})

void t.test('in process - the server ends first', async (t) => {
  const server = await start(t)
  await server.addExport(await openImage({ image: 'memory:1M' }))
  const disk = await join(server)
  await within('the end', server.close(CLOSE_MS))
  const { kind } = await within('an error', failureOf(disk.read(0, 512)))
  t.equal(kind, 'transport')
  await disk.close()
  t.equal((await within('a refusal', failureOf(join(server)))).kind, 'transport', 'nobody is served any more')
})

void t.test('in process - a place among the connections is waited for', async (t) => {
  const server = await start(t, { maxConnections: 1 })
  await server.addExport(await openImage({ image: 'memory:1M' }))
  const first = await join(server)
  const second = join(server)
  await first.read(0, 1)
  await first.close()
  const disk = await within('its turn', second)
  await disk.close()
})

void t.test('in process - the thread that serves it dies', async (t) => {
  setLogLevel('silent')
  const thread = await IOThread.start('io0')
  t.teardown(() => thread.stop())
  const server = await start(t)
  await server.addExport(await openImage({ image: 'memory:1M' }), { iothreads: [thread] })
  const disk = await join(server)
  await thread.run(DIE, 'out of luck').catch(() => undefined)
  const lost = await within('an error', failureOf(readOn(disk)))
  t.equal(lost.kind, 'transport')
  await disk.close()
})

/** Until it fails. */
async function readOn(disk: NBDDisk): Promise<never> {
  for (;;) await disk.read(0, 512)
}

void t.test('in process - TLS is not asked of it', requires('certtool'), async (t) => {
  const { folder } = TestCA.make(t).server()
  const creds = loadServerCreds(folder, { verifyPeer: false })
  const server = await start(t, { tls: { creds, required: true } })
  await server.addExport(await openImage({ image: 'memory:1M' }))
  const disk = await join(server)
  t.equal(disk.tls, false)
  t.equal((await disk.read(0, 512)).length, 512)
  await disk.close()
})
