import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { connect } from '../../client/index.ts'
import { directFolder } from '../helpers/direct-folder.ts'
import { runOk } from '../helpers/launched.ts'
import { requiresLoopDevice, withLoopDevice } from '../helpers/loop-device.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { loadSize, randomLoad } from '../helpers/random-load.ts'
import { program, requires, type Test } from '../helpers/requires.ts'
import { requiresIOUring } from '../helpers/uring.ts'

const DEPTH = 16
/** Requests of a run. */
const STEPS = 600
const CONNECTIONS = 4

/** Random requests on what is served, many at once, beside each other in the same blocks; then compares the file. */
async function check(t: Test, args: string[], file: string): Promise<void> {
  const server = await Mqnbd.serve(t, [...args, '--cache', 'none'])
  const disks = await Promise.all(Array.from({ length: CONNECTIONS }, () => connect(server.uri)))
  const { size } = disks[0]!
  const shadow = fs.readFileSync(file)
  const steps = await randomLoad(disks, shadow, DEPTH, (steps) => steps >= STEPS)
  t.ok(steps >= STEPS, `${steps} requests`)
  // The last bytes, which may be less than a block.
  const end = crypto.randomBytes(1000)
  await disks[0]!.write(size - end.length, end, { fua: true })
  end.copy(shadow, size - end.length)
  t.ok((await disks[1]!.read(size - end.length, end.length)).equals(end))
  await disks[0]!.flush()
  await Promise.all(disks.map((disk) => disk.close()))
  const expected = path.join(directFolder(t), 'shadow')
  fs.writeFileSync(expected, shadow)
  t.equal(fs.statSync(file).size, shadow.length)
  const compare = ['compare', '-f', 'raw', '-F', 'raw', file, expected]
  t.match(await runOk(t, program('qemu-img'), compare), 'Images are identical')
  t.same(await server.process.end(), { status: 0, signal: null })
  t.equal(server.process.stderr, '')
}

function image(t: Test, size: number): string {
  const file = path.join(directFolder(t), 'disk.img')
  fs.writeFileSync(file, crypto.randomBytes(size))
  return file
}

const size = loadSize(CONNECTIONS, DEPTH)

for (const { threads, length, aio } of [
  { threads: 1, length: size, aio: 'threads' },
  { threads: 3, length: size + 512, aio: 'threads' },
  { threads: 1, length: size + 4097, aio: 'io_uring' },
  { threads: 3, length: size + 4097, aio: 'io_uring' }
]) {
  const what = `${length} bytes, ${threads} IOThread${threads > 1 ? 's' : ''}, ${aio}`
  const peers = { ...requires('qemu-img'), ...(aio === 'io_uring' && requiresIOUring()) }
  void t.test(`direct - ${what}`, peers, async (t) => {
    const file = image(t, length)
    await check(t, [file, '--iothreads', String(threads), '--aio', aio], file)
  })
}

for (const sector of [512, 4096]) {
  const peers = { ...requires('qemu-img'), ...requiresLoopDevice() }
  void t.test(`direct - a block device with sectors of ${sector} bytes`, peers, async (t) => {
    const file = image(t, size)
    const options = ['--sector-size', String(sector)]
    await withLoopDevice(t, file, options, (device) => check(t, [device, '--iothreads', '3'], file))
  })
}
