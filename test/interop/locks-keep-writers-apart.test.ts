import * as path from 'node:path'
import t from 'tap'
import { emptyImage, MiB } from '../helpers/files.ts'
import { run, runOk, type Ran } from '../helpers/launched.ts'
import { mqnbd, Mqnbd } from '../helpers/mqnbd.ts'
import { QemuNbd } from '../helpers/qemu-nbd.ts'
import { tryQemuIo } from '../helpers/qemu-io.ts'
import { program, requires, type Test } from '../helpers/requires.ts'
import { tempDir } from '../helpers/temp-dir.ts'

/** QEMU lets others write a raw image that it reads, and no other format's. */
async function qcow2Image(t: Test): Promise<string> {
  const image = path.join(tempDir(t), 'disk.qcow2')
  await runOk(t, program('qemu-img'), ['create', '-q', '-f', 'qcow2', image, '1M'])
  return image
}

/** Tries to serve an image that somebody else uses. */
async function isRefused(t: Test, image: string, ...options: string[]): Promise<void> {
  const { status, stdout, stderr } = await mqnbd(t, 'serve', image, '-p', '0', ...options)
  t.equal(status, 1)
  t.equal(stdout, '')
  t.match(stderr, /^mqnbd: cannot open '[^']+': it is locked: [^\n]+\n$/, 'one line')
}

void t.test(
  'lock - qemu-io opens nothing for writing that we serve for writing',
  requires('qemu-io'),
  async (t) => {
    const image = emptyImage(t, MiB)
    const server = await Mqnbd.serve(t, [image])
    const refused = await tryQemuIo(t, image, [], 'write 0 512')
    t.equal(refused.status, 1)
    t.match(refused.stderr, /Failed to get "write" lock/)
    t.equal(
      (await tryQemuIo(t, image, ['-r'], 'read 0 512')).status,
      0,
      'for reading it does: raw images are not its to guard'
    )

    await server.process.end()
    t.equal((await tryQemuIo(t, image, [], 'write 0 512')).status, 0, 'afterwards it does')
  }
)

void t.test('lock - qemu-img reads no qcow2 file that we write', requires('qemu-img'), async (t) => {
  const image = await qcow2Image(t)
  await Mqnbd.serve(t, [image, '-f', 'raw'])
  const info = (...options: string[]): Promise<Ran> =>
    run(t, program('qemu-img'), ['info', '-f', 'qcow2', ...options, image])
  const refused = await info()
  t.equal(refused.status, 1)
  t.match(refused.stderr, /Failed to get shared "write" lock/)
  t.equal((await info('-U')).status, 0, 'unless it is told not to mind')
})

void t.test(
  'lock - qemu-io reads what we serve read-only, and does not write it',
  requires('qemu-io'),
  async (t) => {
    const image = emptyImage(t, MiB)
    await Mqnbd.serve(t, [image, '-r'])
    t.equal((await tryQemuIo(t, image, ['-r'], 'read 0 512')).status, 0)
    const refused = await tryQemuIo(t, image, [], 'write 0 512')
    t.equal(refused.status, 1)
    t.match(refused.stderr, /Failed to get "write" lock/)
  }
)

void t.test('lock - what qemu-nbd writes is not served', requires('qemu-nbd', 'nbdinfo'), async (t) => {
  const image = emptyImage(t, MiB)
  const other = await QemuNbd.serve(t, ['-f', 'raw', image])
  await isRefused(t, image)
  await isRefused(t, image, '-r')
  await isRefused(t, image, '-f', 'raw')

  await other.process.end()
  await t.resolves(Mqnbd.serve(t, [image]), 'afterwards it is')
})

void t.test('lock - what qemu-nbd only reads is served', requires('qemu-nbd', 'nbdinfo'), async (t) => {
  const image = await qcow2Image(t)
  await QemuNbd.serve(t, ['-r', '-f', 'qcow2', image])
  await isRefused(t, image, '-f', 'raw')
  await t.resolves(Mqnbd.serve(t, [image, '-f', 'raw', '-r']), 'read-only')
})

void t.test('lock - two of ours', async (t) => {
  const written = emptyImage(t, MiB)
  await Mqnbd.serve(t, [written])
  await isRefused(t, written)
  await isRefused(t, written, '-r')

  const read = emptyImage(t, MiB)
  await Mqnbd.serve(t, [read, '-r'])
  await isRefused(t, read)
  await t.resolves(Mqnbd.serve(t, [read, '-r']), 'both may read')
})

void t.test('lock - a server that was killed leaves none behind', async (t) => {
  const image = emptyImage(t, MiB)
  const killed = await Mqnbd.serve(t, [image])
  await killed.process.end('SIGKILL')
  await t.resolves(Mqnbd.serve(t, [image]))
})
