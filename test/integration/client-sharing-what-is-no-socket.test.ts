import * as net from 'node:net'
import * as path from 'node:path'
import t from 'tap'
import { attach, connect } from '../../client/index.ts'
import { openFile, writeFromFile } from '../helpers/file-writes.ts'
import { startThreads } from '../helpers/iothreads.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { loadSize } from '../helpers/random-load.ts'
import { requires } from '../helpers/requires.ts'
import { ATTACH, CLOSE, LOAD, sha256, STATE } from '../helpers/shared-disk.ts'
import { tempDir } from '../helpers/temp-dir.ts'
import { TestCA } from '../helpers/tls-certs.ts'
import { waitFor, within } from '../helpers/wait-for.ts'
import { waysWithoutSockets } from '../helpers/ways-without-sockets.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'

const THREADS = 2
const DEPTH = 8
/** Longer than any test takes. */
const LONG_MS = 600_000

for (const [name, { needs, connect }] of Object.entries(waysWithoutSockets)) {
  void t.test(`sharing - ${name}, opened for that`, requires(...needs), async (t) => {
    const threads = await startThreads(t, THREADS)
    const size = loadSize(1, DEPTH)
    const disk = await connect(t, { shareable: true })
    t.equal(disk.tls, /TLS/.test(name))
    const handle = await disk.share()
    await Promise.all(threads.map((thread) => thread.run(ATTACH, handle)))
    const outcomes = await Promise.all(
      threads.map((thread, i) => thread.run(LOAD, { base: i * size, size, depth: DEPTH, steps: 300 }))
    )
    for (const [i, { sha256: expected }] of outcomes.entries())
      t.equal(sha256(await disk.read(i * size, size)), expected, `what thread ${i} has written`)
    await Promise.all(threads.map((thread) => thread.run(CLOSE, undefined)))
    await writeFromFile(t, disk, 1)
    t.equal(disk.state, 'READY')
    await disk.close()
  })
}

void t.test(
  'sharing - the server takes leave of nobody before all have read',
  requires('certtool'),
  async (t) => {
    const disk = await waysWithoutSockets.TLS.connect(t, { shareable: true })
    const other = attach(await disk.share())
    const { fd } = openFile(t, Buffer.alloc(1 << 20, 7))
    await other.writeFile(0, 1 << 20, { fd, position: 0 })
    const read = disk.read(0, 1 << 20)
    await other.close()
    t.ok((await read).every((byte) => byte === 7))
    await disk.close()
  }
)

void t.test('sharing - TLS is made again when it is lost', requires('certtool'), async (t) => {
  const [thread] = await startThreads(t, 1)
  const ca = TestCA.make(t).server().client()
  const args = ['memory:1M', '--tls-creds', ca.folder, '-k', path.join(tempDir(t), 's')]
  const server = await Mqnbd.serve(t, args)
  const options = { tls: { certificates: ca.folder }, shareable: true, reconnectDelayMs: LONG_MS }
  const disk = await connect(server.uri, options)
  await thread!.run(ATTACH, await disk.share())
  const state = (): Promise<string> => thread!.run(STATE, undefined)
  await server.process.end('SIGKILL')
  await waitFor('the loss', async () => (await state()) === 'CONNECTING' && disk.state === 'CONNECTING')
  await Mqnbd.serve(t, args)
  await waitFor('another connection', async () => (await state()) === 'READY')
  t.equal((await disk.read(0, 512)).length, 512)
  await thread!.run(CLOSE, undefined)
  await disk.close()
})

void t.test('sharing - others go on when the disk is closed that has connected', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1M'], { once: true })
  const disk = await connect({ stream: net.connect(server.socket!) }, { shareable: true })
  const other = attach(await disk.share())
  await within('the first to be closed', disk.close())
  t.equal((await other.read(0, 512)).length, 512)
  await other.close()
  t.match(await within('the server to see the last one go', server.process.exit), { status: 0 })
})

void t.test('sharing - a stream that breaks off ends it for all', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1M'])
  const stream = net.connect(server.socket!)
  const disk = await connect({ stream }, { shareable: true })
  const other = attach(await disk.share())
  stream.destroy()
  for (const one of [disk, other]) {
    t.match(await failureOf(one.read(0, 512)), { kind: 'transport' })
    await one.close()
  }
})
