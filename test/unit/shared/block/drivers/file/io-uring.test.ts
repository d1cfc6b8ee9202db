import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import { once } from 'node:events'
import * as path from 'node:path'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { connect } from '../../../../../../client/index.ts'
import { endThread } from '../../../../../../shared/aio/thread-end.ts'
import type { FileOptions } from '../../../../../../shared/block/drivers/file/driver.ts'
import { openNode, type NodeHandle } from '../../../../../../shared/block/index.ts'
import { IOThread } from '../../../../../../shared/iothread/io-thread.ts'
import { isRefusal } from '../../../../../helpers/command-line.ts'
import { descriptorsOf, directImage } from '../../../../../helpers/direct-folder.ts'
import { Launched, run } from '../../../../../helpers/launched.ts'
import { MQNBD } from '../../../../../helpers/mqnbd.ts'
import { readNode, writeNode } from '../../../../../helpers/raw-node.ts'
import { program, requires } from '../../../../../helpers/requires.ts'
import { tempDir } from '../../../../../helpers/temp-dir.ts'
import { READ_NODE, requiresIOUring, rings, WRITE_NODE } from '../../../../../helpers/uring.ts'

const MiB = 1024 * 1024
const EIO = 5

for (const direct of [false, true]) {
  const way = direct ? 'around the page cache' : 'through the page cache'
  void t.test(`aio=io_uring - ${way}`, requiresIOUring(), async (t) => {
    const image = directImage(t, MiB + 100)
    const node = await openNode({ driver: 'file', filename: image, aio: 'io_uring', cache: { direct } })
    t.teardown(() => node.close())
    t.notOk(descriptorsOf(image).some(({ flags }) => (flags & fs.constants.O_NONBLOCK) !== 0))
    const bytes = crypto.randomBytes(node.length)
    await writeNode(node, 0, bytes)
    t.ok(fs.readFileSync(image).equals(bytes))
    t.ok((await readNode(node, 12_345, 500_000)).equals(bytes.subarray(12_345, 512_345)))
    await node.pwriteZeroes(100_001, 100_001, { mayUnmap: true, noFallback: false })
    bytes.fill(0, 100_001, 200_002)
    await node.flush()
    t.ok((await readNode(node, 0, node.length)).equals(bytes))
    fs.truncateSync(image, 4096)
    const gone = { kind: 'request', errno: EIO, message: /beyond the end/ }
    await t.rejects(readNode(node, 8192, 4096), gone)
  })
}

void t.test(
  'aio - what pays, if not told, and only where the thread ends in order',
  requiresIOUring(),
  async (t) => {
    // The main thread has one of the tests before.
    endThread()
    const image = directImage(t, MiB)
    for (const { aio, direct, expected } of [
      { aio: undefined, direct: false, expected: 1 },
      { aio: undefined, direct: true, expected: 1 },
      { aio: 'io_uring', direct: false, expected: 1 },
      { aio: 'threads', direct: true, expected: 0 }
    ] as const) {
      const options: FileOptions = { driver: 'file', filename: image, cache: { direct } }
      const node = await openNode(aio ? { ...options, aio } : options)
      const handle = node.handle()
      await readNode(node, 0, 4096)
      const ours = rings()
      t.equal(ours, aio === 'io_uring' ? 1 : 0, 'in the main thread')
      const thread = await IOThread.start('io')
      t.equal(await thread.run(READ_NODE, handle), ours + expected, `${aio}, direct: ${direct}`)
      await thread.stop()
      const writer = await IOThread.start('io')
      const written = aio === undefined && !direct ? 0 : expected
      t.equal(await writer.run(WRITE_NODE, handle), ours + written, 'when it writes')
      await writer.stop()
      t.equal(await inWorker(handle), ours, 'in a worker of somebody else')
      await node.close()
      endThread()
      t.equal(rings(), 0)
    }
  }
)

/** As READ_NODE, in a thread that anybody may end. */
async function inWorker(handle: NodeHandle): Promise<number> {
  const code = `
    const { parentPort, workerData } = require('node:worker_threads')
    import(workerData.module).then(async (module) => parentPort.postMessage(await module.readNode(workerData.handle)))`
  const worker = new Worker(code, { eval: true, workerData: { module: READ_NODE.module, handle } })
  const [found] = (await once(worker, 'message')) as [number]
  await worker.terminate()
  return found
}

void t.test(
  'aio=io_uring - where it may not be used, that is said in one line',
  requires('strace'),
  async (t) => {
    for (const [errno, reason] of [
      ['EPERM', /aio=io_uring is not available: io_uring_setup: operation not permitted/],
      ['ENOSYS', /aio=io_uring is not available: io_uring_setup: function not implemented/]
    ] as const) {
      const log = path.join(tempDir(t), 'strace')
      const trace = [
        '-f',
        '-q',
        '-o',
        log,
        '-e',
        'trace=io_uring_setup',
        '-e',
        `inject=io_uring_setup:error=${errno}`
      ]
      const args = ['serve', directImage(t, MiB), '-p', '0', '--aio', 'io_uring']
      const ran = await run(t, program('strace'), [...trace, process.execPath, MQNBD, ...args])
      isRefusal(t, ran, 1, reason, errno)
    }
  }
)

void t.test(
  "aio=io_uring - requests that cannot be submitted end their thread: their memory is nobody else's",
  { ...requiresIOUring(), ...requires('strace') },
  async (t) => {
    // Submitted by itself, and no hole chunk.
    const LENGTH = 20 * 1024
    const folder = tempDir(t)
    const socket = path.join(folder, 's')
    const inject = ['-e', 'trace=io_uring_enter', '-e', 'inject=io_uring_enter:error=EBADF:when=20+']
    const trace = ['-f', '-q', '-o', path.join(folder, 'strace'), ...inject]
    const args = ['serve', directImage(t, MiB), '-k', socket, '--cache', 'none', '--aio', 'io_uring']
    const server = new Launched(t, program('strace'), [
      ...trace,
      ...[process.execPath, MQNBD, ...args, '--iothreads', '1']
    ])
    await server.output('stdout', /serving/)
    const disk = await connect(`nbd+unix:///?socket=${socket}`)
    t.teardown(() => disk.close())
    const readOn = async (): Promise<void> => {
      for (;;) await disk.read(0, LENGTH)
    }
    await t.rejects(readOn(), { kind: 'transport', message: /./ })
    await server.output('stderr', /IOThread .* died: io_uring_enter: bad file descriptor/)
  }
)
