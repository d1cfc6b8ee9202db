import * as path from 'node:path'
import t, { type Test } from 'tap'
import '../../client/driver/index.ts'
import { attach, connect } from '../../client/index.ts'
import { NBDServer } from '../../server/index.ts'
import { openNode } from '../../shared/block/driver-registry.ts'
import type { NbdOptions } from '../../client/driver/options.ts'
import { emptyImage } from '../helpers/files.ts'
import { startThreads } from '../helpers/iothreads.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { loadSize, randomLoad } from '../helpers/random-load.ts'
import { ATTACH, CLOSE, LOAD, READ, sha256 } from '../helpers/shared-disk.ts'
import { tempDir } from '../helpers/temp-dir.ts'
import { waitFor } from '../helpers/wait-for.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'

const THREADS = 3
const DEPTH = 4
/** Longer than any test takes. */
const LONG_MS = 600_000

interface Origin {
  socket: string
  uri: string
  /** Ends it at once, and starts it anew. */
  restart: () => Promise<void>
  /** Ends it at once. */
  kill: () => Promise<void>
}

async function origin(t: Test, size: number): Promise<Origin> {
  const socket = path.join(tempDir(t), 's')
  const image = emptyImage(t, size)
  const start = (): Promise<Mqnbd> => Mqnbd.serve(t, [image, '-f', 'raw', '-k', socket])
  let server = await start()
  const kill = async (): Promise<void> => void (await server.process.end('SIGKILL'))
  const restart = async (): Promise<void> => {
    await kill()
    server = await start()
  }
  return { socket, uri: server.uri, restart, kill }
}

void t.test('sharing - the connection is made again, for all threads', async (t) => {
  const threads = await startThreads(t, THREADS)
  const size = loadSize(1, DEPTH)
  const server = await origin(t, THREADS * size)
  const disk = await connect(server.uri, { reconnectDelayMs: LONG_MS })
  t.teardown(() => disk.close())
  const handle = await disk.share()
  await Promise.all(threads.map((thread) => thread.run(ATTACH, handle)))
  const loads = threads.map((thread, i) =>
    thread.run(LOAD, { base: i * size, size, depth: DEPTH, steps: 150 })
  )
  for (let i = 0; i < 2; i++) {
    await server.restart()
    // Somebody has to notice.
    await disk.read(0, 512)
  }
  for (const [i, { sha256: expected }] of (await Promise.all(loads)).entries())
    t.equal(sha256(await disk.read(i * size, size)), expected, `what thread ${i} has written`)
  const read = await Promise.all(
    threads.map((thread) => thread.run(READ, { offset: 0, length: 512, count: 1 }))
  )
  t.strictSame(
    read.flat(),
    Array.from({ length: THREADS }, () => ({ length: 512 }))
  )
  await Promise.all(threads.map((thread) => thread.run(CLOSE, undefined)))
})

void t.test('sharing - attached while there is no connection', async (t) => {
  const server = await origin(t, 1024 * 1024)
  const disk = await connect(server.uri, { reconnectDelayMs: LONG_MS })
  const handle = await disk.share()
  await server.kill()
  const waiting = disk.read(0, 512)
  await waitFor('the loss to be noticed', () => disk.state === 'CONNECTING')
  const other = attach(handle)
  t.equal(other.state, 'CONNECTING')
  const reading = other.read(0, 512)
  await server.restart()
  t.equal((await waiting).length, 512)
  t.equal((await reading).length, 512)
  await disk.close()
  // Nobody makes it again now.
  t.equal((await other.read(0, 512)).length, 512)
  await server.kill()
  t.match(await failureOf(other.read(0, 512)), { message: /whoever has opened the connection/ })
  t.equal(other.state, 'DEAD')
  await other.close()
})

void t.test('sharing - not there again in time', async (t) => {
  const [thread] = await startThreads(t, 1)
  const server = await origin(t, 1024 * 1024)
  const disk = await connect(server.uri, { reconnectDelayMs: 200 })
  t.teardown(() => disk.close())
  await thread!.run(ATTACH, await disk.share())
  await server.kill()
  const [outcome] = await thread!.run(READ, { offset: 0, length: 512, count: 1 })
  t.match(outcome, { error: { kind: 'transport', message: /not there again within 200 ms/ } })
})

void t.test('forwarding - the origin is restarted under load', async (t) => {
  const threads = await startThreads(t, 2)
  const size = loadSize(2, DEPTH)
  const server = await origin(t, size)
  const options: NbdOptions = {
    driver: 'nbd',
    server: { type: 'unix', path: server.socket },
    'reconnect-delay': 600
  }
  const node = await openNode(options)
  const proxy = await NBDServer.start()
  await proxy.addExport(node, { iothreads: threads })
  const socket = path.join(tempDir(t), 's')
  await proxy.listen({ path: socket })
  const uri = `nbd+unix:///?socket=${socket}`
  const disks = [await connect(uri), await connect(uri)]
  const shadow = Buffer.alloc(size)
  let restarted = false
  const load = randomLoad(disks, shadow, DEPTH, (steps) => steps >= 300 && restarted)
  await server.restart()
  restarted = true
  await load
  t.ok((await disks[1]!.read(0, size)).equals(shadow))
  await Promise.all(disks.map((disk) => disk.close()))
  await proxy.close(5000)
})
