import t, { type Test } from 'tap'
import { attach, connect, type NBDDisk } from '../../client/index.ts'
import type { IOThread } from '../../shared/iothread/io-thread.ts'
import { startThreads } from '../helpers/iothreads.ts'
import { loadSize } from '../helpers/random-load.ts'
import { ATTACH, LOAD, READ, sha256 } from '../helpers/shared-disk.ts'
import { serveTrial } from '../helpers/trial-server.ts'
import { waitFor } from '../helpers/wait-for.ts'

const THREADS = 4
const DEPTH = 8
const KiB = 1024

/** Connects, and attaches the disk in all threads. */
async function shared(t: Test, uri: string, threads: IOThread[], connections = 1): Promise<NBDDisk> {
  const disk = await connect(uri, { connections })
  t.teardown(() => disk.close())
  const handle = await disk.share()
  for (const size of await Promise.all(threads.map((thread) => thread.run(ATTACH, handle))))
    t.equal(size, disk.size)
  return disk
}

/** Random requests in all threads, each in its own part; what is on the disk then is what must be there. */
async function loaded(t: Test, disk: NBDDisk, threads: IOThread[], steps: number): Promise<void> {
  const size = loadSize(1, DEPTH)
  const results = await Promise.all(
    threads.map((thread, i) => thread.run(LOAD, { base: i * size, size, depth: DEPTH, steps }))
  )
  for (const [i, { steps: done, sha256: expected }] of results.entries()) {
    t.ok(done >= steps)
    t.equal(sha256(await disk.read(i * size, size)), expected, `what thread ${i} has written`)
  }
}

void t.test('sharing - one connection at the server, each reply to its waiter', async (t) => {
  const threads = await startThreads(t, THREADS)
  const size = THREADS * loadSize(1, DEPTH)
  const served = await serveTrial(t, { threads: 2, image: `memory:${size}` })
  const disk = await shared(t, served.uri, threads)
  await loaded(t, disk, threads, 600)
  const { connections } = await served.server.counters()
  t.equal(connections.length, 1)
})

void t.test('sharing - several connections, each used by all threads', async (t) => {
  const threads = await startThreads(t, 3)
  const size = 3 * loadSize(1, DEPTH)
  const served = await serveTrial(t, { threads: 2, image: `memory:${size}` })
  const disk = await shared(t, served.uri, threads, 2)
  await loaded(t, disk, threads, 300)
  t.equal((await served.server.counters()).connections.length, 2)
})

void t.test('sharing - two attachments in one thread, beside the disk itself', async (t) => {
  const served = await serveTrial(t, { threads: 1, image: 'memory:1M' })
  const disk = await connect(served.uri)
  const handle = await disk.share()
  const others = [attach(handle), attach(handle)]
  const data = Buffer.alloc(64 * KiB, 7)
  await disk.write(0, data)
  const reads = await Promise.all(
    [disk, ...others].flatMap((one) => [one.read(0, 64 * KiB), one.read(0, 512)])
  )
  t.ok(reads.every((read) => read.equals(data.subarray(0, read.length))))
  // Whoever opened it need not be the last.
  await disk.close()
  t.ok((await others[0]!.read(0, 64 * KiB)).equals(data))
  await t.rejects(disk.read(0, 1), { kind: 'transport', message: /the connection was closed/ })
  await Promise.all(others.map((other) => other.close()))
  await waitFor(
    'the connection to end',
    async () => (await served.server.counters()).connections.length === 0
  )
  t.throws(() => attach(handle), { kind: 'transport', message: 'the connection was closed' })
})

void t.test('sharing - begins while requests are in flight', async (t) => {
  const served = await serveTrial(t, { threads: 1, image: 'memory:1M', heldBelow: 4 * KiB, held: true })
  const disk = await connect(served.uri)
  t.teardown(() => disk.close())
  const held = disk.read(0, 512)
  await waitFor('the request to be held back', () => served.control.waiting === 1)
  const sharing = disk.share()
  const later = disk.read(8 * KiB, 512)
  served.control.held = false
  t.equal((await held).length, 512)
  const other = attach(await sharing)
  t.equal((await later).length, 512)
  t.equal((await other.read(0, 512)).length, 512)
  await other.close()
})

void t.test('sharing - closed everywhere at once', async (t) => {
  const threads = await startThreads(t, 2)
  const served = await serveTrial(t, { threads: 1, image: 'memory:1M' })
  const disk = await shared(t, served.uri, threads)
  await disk.closeAll()
  await waitFor(
    'the connection to end',
    async () => (await served.server.counters()).connections.length === 0
  )
  for (const thread of threads) {
    const [outcome] = await thread.run(READ, { offset: 0, length: 512, count: 1 })
    t.match(outcome, { error: { kind: 'transport', message: /the connection was closed/ } })
  }
})
