import * as path from 'node:path'
import t, { type Test } from 'tap'
import { attach, connect } from '../../client/index.ts'
import { emptyImage } from '../helpers/files.ts'
import { startThreads } from '../helpers/iothreads.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { ATTACH, CLOSE, READ, STATE } from '../helpers/shared-disk.ts'
import { tempDir } from '../helpers/temp-dir.ts'
import { waitFor } from '../helpers/wait-for.ts'

const SIZE = 1024 * 1024
/** Longer than any test takes. */
const LONG_MS = 600_000
const BLOCK = { offset: 0, length: 512, count: 1 }

interface Origin {
  uri: string
  kill: () => Promise<void>
  start: () => Promise<void>
}

async function origin(t: Test): Promise<Origin> {
  const args = [emptyImage(t, SIZE), '-f', 'raw', '-k', path.join(tempDir(t), 's')]
  let server = await Mqnbd.serve(t, args)
  return {
    uri: server.uri,
    kill: async () => void (await server.process.end('SIGKILL')),
    start: async () => void (server = await Mqnbd.serve(t, args))
  }
}

void t.test('sharing - a loss is noticed in all threads before anybody asks', async (t) => {
  const threads = await startThreads(t, 2)
  const server = await origin(t)
  const disk = await connect(server.uri, { reconnectDelayMs: LONG_MS })
  t.teardown(() => disk.close())
  const handle = await disk.share()
  await Promise.all(threads.map((thread) => thread.run(ATTACH, handle)))
  // One has asked for something, the others have not.
  t.match(await threads[0]!.run(READ, BLOCK), [{ length: 512 }])
  const states = async (): Promise<string[]> => [
    disk.state,
    ...(await Promise.all(threads.map((thread) => thread.run(STATE, undefined))))
  ]
  const all = async (state: string): Promise<boolean> => (await states()).every((one) => one === state)
  for (let round = 0; round < 2; round++) {
    t.strictSame(await states(), ['READY', 'READY', 'READY'])
    await server.kill()
    await waitFor('the loss to be noticed', () => all('CONNECTING'))
    await server.start()
    await waitFor('another connection', () => all('READY'))
  }
  t.match(await threads[1]!.run(READ, BLOCK), [{ length: 512 }])
  await Promise.all(threads.map((thread) => thread.run(CLOSE, undefined)))
})

void t.test('sharing - a loss is noticed when whoever has connected has gone', async (t) => {
  const [thread] = await startThreads(t, 1)
  const server = await origin(t)
  const disk = await connect(server.uri)
  await thread!.run(ATTACH, await disk.share())
  await disk.close()
  await server.kill()
  await waitFor('the loss to be noticed', async () => (await thread!.run(STATE, undefined)) === 'DEAD')
  t.match(await thread!.run(READ, BLOCK), [{ error: { message: /the server closed the connection/ } }])
  await thread!.run(CLOSE, undefined)
})

void t.test('sharing - a disk that is closed while it is idle leaves the others theirs', async (t) => {
  const server = await origin(t)
  const disk = await connect(server.uri)
  const handle = await disk.share()
  for (let i = 0; i < 3; i++) await attach(handle).close()
  t.equal(disk.state, 'READY')
  t.equal((await disk.read(0, 512)).length, 512)
  await disk.close()
})
