import * as fs from 'node:fs'
import * as path from 'node:path'
import t, { type Test } from 'tap'
import '../../client/driver/index.ts'
import { connect } from '../../client/index.ts'
import { NBDServer } from '../../server/index.ts'
import { openImage } from '../../shared/block/index.ts'
import { startThreads } from '../helpers/iothreads.ts'
import { loadSize, randomLoad } from '../helpers/random-load.ts'
import { tempDir } from '../helpers/temp-dir.ts'
import { serveTrial, type TrialServer } from '../helpers/trial-server.ts'
import { waitFor } from '../helpers/wait-for.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'

const KiB = 1024
const MiB = 1024 * KiB
const CLOSE_MS = 5000

interface Proxy {
  server: NBDServer
  uri: string
}

/** A server whose export is that of another. */
async function forward(t: Test, uri: string, threads: number): Promise<Proxy> {
  const iothreads = await startThreads(t, threads)
  const server = await NBDServer.start()
  t.teardown(() => server.close(CLOSE_MS))
  await server.addExport(await openImage({ image: uri, format: 'raw' }), { iothreads })
  const socket = path.join(tempDir(t), 's')
  await server.listen({ path: socket })
  return { server, uri: `nbd+unix:///?socket=${socket}` }
}

const upstream = (t: Test, image: string): Promise<TrialServer> => serveTrial(t, { threads: 2, image })

void t.test('forwarding - several IOThreads by one connection', async (t) => {
  const count = 4
  const origin = await upstream(t, `memory:${loadSize(count, 8)}`)
  const proxy = await forward(t, origin.uri, count)
  const disks = await Promise.all(Array.from({ length: count }, () => connect(proxy.uri)))
  t.teardown(() => Promise.all(disks.map((disk) => disk.close())))
  const shadow = Buffer.alloc(disks[0]!.size)
  await randomLoad(disks, shadow, 8, (steps) => steps >= 1500)
  t.ok((await disks[1]!.read(0, shadow.length)).equals(shadow))
  const { iothreads } = await proxy.server.counters()
  t.equal(iothreads.length, count)
  t.ok(
    iothreads.every(({ requests }) => requests > 0),
    `requests by thread: ${iothreads.map(({ requests }) => requests).join(', ')}`
  )
  t.equal((await origin.server.counters()).connections.length, 1)
})

void t.test('forwarding - what the origin is, its export is', async (t) => {
  const origin = await upstream(t, 'memory:1M')
  const proxy = await forward(t, origin.uri, 2)
  const [first, second] = [await connect(origin.uri), await connect(proxy.uri)]
  t.teardown(() => Promise.all([first.close(), second.close()]))
  t.equal(second.size, first.size)
  t.same(second.blockSizes, first.blockSizes)
  await second.write(64 * KiB, Buffer.alloc(64 * KiB, 1), { fua: true })
  await second.zero(96 * KiB, 16 * KiB)
  await second.trim(512 * KiB, 4 * KiB)
  await second.cache(0, 64 * KiB)
  await second.flush()
  const extents = async (disk: typeof first): Promise<unknown[]> => {
    const all: unknown[] = []
    for await (const extent of disk.blockStatus()) all.push(extent)
    return all
  }
  t.same(await extents(second), await extents(first))
  t.ok((await second.read(64 * KiB, 64 * KiB)).equals(await first.read(64 * KiB, 64 * KiB)))
})

void t.test('forwarding - a flush of one client covers the writes of all', async (t) => {
  const origin = await upstream(t, 'memory:1M')
  const proxy = await forward(t, origin.uri, 2)
  const disks = [await connect(proxy.uri), await connect(proxy.uri)]
  t.ok(disks[0]!.flags.canMultiConn)
  await disks[0]!.write(4 * KiB, Buffer.alloc(512, 1))
  await disks[1]!.flush()
  const what = origin.control.journal.map((event) => event.what)
  t.same(what.slice(0, 3), ['written', 'flush begins', 'flush ends'])
  await Promise.all(disks.map((disk) => disk.close()))
})

void t.test("forwarding - FUA is the origin's to obey", async (t) => {
  const origin = await upstream(t, 'memory:1M')
  const proxy = await forward(t, origin.uri, 1)
  const disk = await connect(proxy.uri)
  t.teardown(() => disk.close())
  const requests = async (): Promise<number> => (await origin.server.counters()).connections[0]!.requests
  const before = await requests()
  await disk.write(0, Buffer.alloc(512, 1), { fua: true })
  await disk.zero(0, 512, { fua: true })
  t.equal((await requests()) - before, 2, 'no flush of its own')
  t.same(
    origin.control.journal.map(({ what }) => what),
    ['written', 'flush begins', 'flush ends', 'flush begins', 'flush ends']
  )
})

void t.test('forwarding - errors of the origin arrive as they are', async (t) => {
  const folder = tempDir(t)
  const image = path.join(folder, 'image')
  fs.writeFileSync(image, Buffer.alloc(MiB))
  const origin = await upstream(t, image)
  const proxy = await forward(t, origin.uri, 1)
  const disk = await connect(proxy.uri)
  t.teardown(() => disk.close())
  fs.truncateSync(image, 0)
  const failure = await failureOf(disk.write(0, Buffer.alloc(512)).then(() => disk.read(MiB - 512, 512)))
  t.match(failure, { kind: 'request', errno: 5 })
})

void t.test('forwarding - the origin goes away: each request fails', async (t) => {
  const origin = await upstream(t, 'memory:1M')
  const proxy = await forward(t, origin.uri, 2)
  const disk = await connect(proxy.uri)
  t.teardown(() => disk.close())
  await disk.read(0, 512)
  await origin.server.close(0)
  const failure = await failureOf(disk.read(0, 512))
  t.match(failure, { kind: 'request', errno: 5, message: /NBD_CMD_READ/ })
  t.equal((await failureOf(disk.write(0, Buffer.alloc(512)))).errno, 5)
  t.equal((await failureOf(disk.flush())).errno, 5)
  await disk.close()
  t.match(await failureOf(proxy.server.close(CLOSE_MS)), { message: /the last flush failed/ })
})

void t.test('forwarding - the server takes leave of the origin when it ends', async (t) => {
  const origin = await upstream(t, 'memory:1M')
  const proxy = await forward(t, origin.uri, 2)
  const disk = await connect(proxy.uri)
  await disk.write(0, Buffer.alloc(512, 1))
  await disk.close()
  await proxy.server.close(CLOSE_MS)
  await waitFor(
    'the connection to end',
    async () => (await origin.server.counters()).connections.length === 0
  )
  t.same(origin.control.journal.at(-1)?.what, 'flush ends')
})
