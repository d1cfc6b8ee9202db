import { Worker } from 'node:worker_threads'
import t, { type Test } from 'tap'
import { attach, connect, type NBDDisk } from '../../client/index.ts'
import type { NBDPackets } from '../../shared/protocol/nbd-mode.ts'
import type { IOThread } from '../../shared/iothread/io-thread.ts'
import { startThreads } from '../helpers/iothreads.ts'
import { ATTACH, BEGIN_READING, CLOSE, READ, type Outcome } from '../helpers/shared-disk.ts'
import { serveTrial, type TrialServer } from '../helpers/trial-server.ts'
import { waitFor } from '../helpers/wait-for.ts'
import { handshake, scriptedServer } from '../unit/client/helpers/scripted-server.ts'

const KiB = 1024
/** Requests below are held back. */
const HELD = 256 * KiB
const FREE = 512 * KiB

interface Begun {
  served: TrialServer
  disk: NBDDisk
  threads: IOThread[]
}

async function begun(t: Test, count: number, packets?: NBDPackets): Promise<Begun> {
  const threads = await startThreads(t, count)
  const served = await serveTrial(t, { threads: 1, image: 'memory:1M', heldBelow: HELD, held: true })
  const disk = await connect(served.uri, { packets })
  t.teardown(() => disk.close())
  const handle = await disk.share()
  await Promise.all(threads.map((thread) => thread.run(ATTACH, handle)))
  return { served, disk, threads }
}

const held = (served: TrialServer, count: number): Promise<boolean> =>
  waitFor(`${count} requests to be held back`, () => served.control.waiting === count)

for (const replies of ['extended', 'structured', 'simple'] as const) {
  void t.test(`sharing - others drop ${replies} replies to a thread that was ended by force`, async (t) => {
    const { served, disk, threads } = await begun(t, 2, replies)
    const [dying, living] = threads as [IOThread, IOThread]
    // Who waits first receives.
    const first = disk.read(0, 64 * KiB)
    await held(served, 1)
    await dying.run(BEGIN_READING, { offset: 0, length: 100 * KiB, count: 5 })
    await held(served, 6)
    const others = living.run(READ, { offset: 0, length: 512, count: 5 })
    await held(served, 11)
    await dying.stop()
    served.control.held = false
    t.equal((await first).length, 64 * KiB)
    t.strictSame(
      await others,
      Array.from({ length: 5 }, () => ({ length: 512 }))
    )
    t.equal((await disk.read(FREE, 64 * KiB)).length, 64 * KiB)
    await living.run(CLOSE, undefined)
  })
}

void t.test(
  'sharing - what a thread that was ended by force had in flight keeps nobody waiting for ever',
  async (t) => {
    const { served, disk, threads } = await begun(t, 1)
    const first = disk.read(0, 512)
    await held(served, 1)
    // More than there are places for: some wait in the thread.
    await threads[0]!.run(BEGIN_READING, { offset: 0, length: 512, count: 600 })
    await held(served, 512)
    await threads[0]!.stop()
    const waiting = Promise.all(Array.from({ length: 20 }, () => disk.read(FREE, 512)))
    served.control.held = false
    await first
    t.equal((await waiting).length, 20)
    t.equal(disk.state, 'READY')
  }
)

void t.test('sharing - a thread is ended by force while it receives', async (t) => {
  const { served, disk, threads } = await begun(t, 2)
  const [dying, living] = threads as [IOThread, IOThread]
  await dying.run(BEGIN_READING, { offset: 0, length: 512, count: 1 })
  await held(served, 1)
  const waiting = disk.read(0, 512)
  const others = living.run(READ, { offset: 0, length: 512, count: 2 })
  await held(served, 4)
  await dying.stop()
  // Nobody knows what it had read; so nobody goes on.
  const error = { message: /a thread that shared the connection was ended while receiving/ }
  await t.rejects(waiting, error)
  t.match(await others, [{ error }, { error }])
  t.equal(disk.state, 'DEAD')
  served.control.held = false
})

void t.test('sharing - a thread that has nothing in flight is ended by force', async (t) => {
  const { served, disk, threads } = await begun(t, 2)
  const [dying, living] = threads as [IOThread, IOThread]
  await Promise.all(threads.map((thread) => thread.run(READ, { offset: FREE, length: 64 * KiB, count: 10 })))
  await dying.stop()
  t.strictSame(await living.run(READ, { offset: FREE, length: 512, count: 1 }), [{ length: 512 }])
  served.control.held = false
  await living.run(CLOSE, undefined)
  await disk.close()
  // The dead one does not count: the last one has taken leave.
  await waitFor(
    'the connection to end',
    async () => (await served.server.counters()).connections.length === 0
  )
})

void t.test('sharing - a call is given up, and its thread leaves before the reply comes', async (t) => {
  const { served, disk } = await begun(t, 0)
  const other = attach(await disk.share())
  await t.rejects(other.read(0, 64 * KiB, { timeoutMs: 100 }), { message: /no reply within 100 ms/ })
  await other.close()
  served.control.held = false
  t.equal((await disk.read(FREE, 64 * KiB)).length, 64 * KiB)
  t.equal((await disk.read(0, 64 * KiB)).length, 64 * KiB)
})

void t.test('sharing - a worker that is no IOThread is terminated', async (t) => {
  const { served, disk } = await begun(t, 0)
  const first = disk.read(0, 512)
  await held(served, 1)
  const code = `
    const { parentPort, workerData } = require('node:worker_threads')
    import(workerData.module).then(({ attachDisk, beginReading }) => {
      attachDisk(workerData.handle)
      beginReading({ offset: 0, length: 512, count: 3 })
    })
    parentPort.on('message', () => undefined)`
  const workerData = { module: ATTACH.module, handle: await disk.share() }
  const worker = new Worker(code, { eval: true, workerData })
  t.teardown(() => worker.terminate())
  await held(served, 4)
  await worker.terminate()
  served.control.held = false
  // Who hands over to it before it is missed loses the connection; but nobody waits for ever.
  const outcome = await first.then(() => disk.read(FREE, 512)).catch((error: Error) => error.message)
  if (typeof outcome === 'string')
    t.match(outcome, /a thread that shared the connection was ended while receiving/)
  else t.equal(outcome.length, 512)
})

void t.test('sharing - the server goes away while all threads wait', async (t) => {
  const count = 4
  const threads = await startThreads(t, count)
  const scripted = await scriptedServer(t, async (peer) => {
    await handshake(peer)
    for (let i = 0; i < 2 * count + 1; i++) await peer.request()
    peer.socket.destroy()
  })
  const disk = await connect(scripted.uri)
  t.teardown(() => disk.close())
  const handle = await disk.share()
  await Promise.all(threads.map((thread) => thread.run(ATTACH, handle)))
  const own = disk.read(0, 512).then(
    (): Outcome => ({}),
    ({ kind, message }: { kind: string; message: string }): Outcome => ({ error: { kind, message } })
  )
  const all = await Promise.all([
    own,
    ...threads.map((thread) => thread.run(READ, { offset: 0, length: 512, count: 2 }))
  ])
  const [first, ...others] = all.flat()
  t.match(first, { error: { kind: 'transport', message: /^NBD_CMD_READ of 512 bytes at 0: \S/ } })
  t.equal(others.length, 2 * count)
  for (const other of others) t.same(other, first)
  const [late] = await threads[0]!.run(READ, { offset: 0, length: 512, count: 1 })
  t.match(late, { error: { kind: 'transport' } })
  t.throws(() => attach(handle), {
    message: /^the (server closed the connection|connection is closed)|^receiving/
  })
})

void t.test('sharing - a server that breaks the protocol ends it for all, and says why', async (t) => {
  const threads = await startThreads(t, 2)
  const scripted = await scriptedServer(t, async (peer) => {
    await handshake(peer)
    for (let i = 0; i < 2; i++) await peer.request()
    peer.send(Buffer.alloc(64, 0x55))
  })
  const disk = await connect(scripted.uri)
  t.teardown(() => disk.close())
  const handle = await disk.share()
  await Promise.all(threads.map((thread) => thread.run(ATTACH, handle)))
  const outcomes = await Promise.all(
    threads.map((thread) => thread.run(READ, { offset: 0, length: 512, count: 1 }))
  )
  const error = { kind: 'protocol', message: /wrong reply magic 0x55555555/ }
  t.match(outcomes, [[{ error }], [{ error }]])
})
