import * as fs from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { connect } from '../../client/index.ts'
import { emptyImage } from '../helpers/files.ts'
import { runOk } from '../helpers/launched.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { loadSize, randomLoad } from '../helpers/random-load.ts'
import { program, requires, type Test } from '../helpers/requires.ts'
import { tempDir } from '../helpers/temp-dir.ts'
import { serveTrial } from '../helpers/trial-server.ts'

const DEPTH = 64
/** Requests of a run. */
const STEPS = 800

/** Works on what is served at `uri`, and compares the image with what must be in it, once all is flushed. */
async function checkImage(t: Test, uri: string, image: string, count: number): Promise<void> {
  const disks = await Promise.all(Array.from({ length: count }, () => connect(uri)))
  const shadow = Buffer.alloc(disks[0]!.size)
  const steps = await randomLoad(disks, shadow, DEPTH, (steps) => steps >= STEPS)
  t.ok(steps >= STEPS, `${steps} requests`)
  await disks[0]!.flush()
  await Promise.all(disks.map((disk) => disk.close()))
  const expected = path.join(tempDir(t), 'shadow')
  fs.writeFileSync(expected, shadow)
  t.match(
    await runOk(t, program('qemu-img'), ['compare', '-f', 'raw', '-F', 'raw', image, expected]),
    'Images are identical'
  )
}

for (const threads of [1, 2, 4]) {
  for (const count of [1, 8]) {
    const what = `${count} connection${count > 1 ? 's' : ''}, ${threads} IOThread${threads > 1 ? 's' : ''}`
    void t.test(`integrity - ${what}`, requires('qemu-img'), async (t) => {
      const image = emptyImage(t, loadSize(count, DEPTH))
      const server = await Mqnbd.serve(t, [image, '--iothreads', String(threads)])
      await checkImage(t, server.uri, image, count)
      t.same(await server.process.end(), { status: 0, signal: null })
      t.equal(server.process.stderr, '')
    })
  }
}

// Requests that keep their thread busy, so that each connection spreads over all threads, whatever the machine.
for (const { count, threads } of [
  { count: 1, threads: 2 },
  { count: 1, threads: 4 },
  { count: 8, threads: 4 }
]) {
  const what = `${count} connection${count > 1 ? 's' : ''}, each spread over ${threads} IOThreads`
  void t.test(`integrity - ${what}`, requires('qemu-img'), async (t) => {
    const image = emptyImage(t, loadSize(count, DEPTH))
    const served = await serveTrial(t, { threads, image, busyMs: 2 })
    let handOvers = 0
    let parts = 0
    const counting = setInterval(() => {
      void served.server.counters().then(({ connections }) => {
        handOvers = Math.max(handOvers, ...connections.map((one) => one.handOvers))
        parts = Math.max(parts, ...connections.map((one) => one.threads))
      })
    }, 50)
    t.teardown(() => clearInterval(counting))
    await checkImage(t, served.uri, image, count)
    t.equal(parts, threads)
    t.ok(handOvers > 0, `${handOvers} hand-overs`)
    const { iothreads } = await served.server.counters()
    t.ok(
      iothreads.every(({ requests }) => requests > 0),
      `requests by thread: ${iothreads.map(({ requests }) => requests).join(', ')}`
    )
  })
}
