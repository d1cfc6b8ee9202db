import * as path from 'node:path'
import t from 'tap'
import { connect } from '../../client/index.ts'
import { emptyImage, MiB } from '../helpers/files.ts'
import { fio } from '../helpers/fio.ts'
import { runOk } from '../helpers/launched.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { QemuNbd } from '../helpers/qemu-nbd.ts'
import { program, requires } from '../helpers/requires.ts'
import { tempDir } from '../helpers/temp-dir.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'
import { Nbdkit } from '../unit/client/helpers/nbdkit.ts'

const JOBS = 4
const AREA = 8 * MiB

void t.test(
  'chain - fio verifies what it wrote through two servers',
  requires('fio', 'qemu-img'),
  async (t) => {
    const image = emptyImage(t, JOBS * AREA)
    const origin = await Mqnbd.serve(t, [image, '--log-level', 'info'])
    const server = await Mqnbd.serve(t, [origin.uri, '-f', 'raw', '--iothreads', '4'])
    const jobs = await fio(
      t,
      '--name=verify',
      `--numjobs=${JOBS}`,
      `--size=${AREA}`,
      `--offset_increment=${AREA}`,
      '--bsrange=512-256k',
      '--bs_unaligned',
      '--iodepth=16',
      '--verify=crc32c',
      '--verify_fatal=1',
      '--rw=randwrite',
      '--ioengine=nbd',
      `--uri=${server.uri}`,
      '--end_fsync=1'
    )
    for (const { write, read } of jobs) t.equal(read.total_ios, write.total_ios)
    const connections = origin.process.stderr.match(/client uses an export/g) ?? []
    t.equal(connections.length, 1, 'one connection forwards all')
    t.match(
      await runOk(t, program('qemu-img'), ['compare', '-f', 'raw', image, server.uri]),
      'Images are identical'
    )
    t.same(await server.process.end(), { status: 0, signal: null })
    t.equal(server.process.stderr, '')
    t.equal((origin.process.stderr.match(/client disconnected/g) ?? []).length, 1)
  }
)

void t.test('chain - nbdcopy in, and out again', requires('nbdcopy', 'qemu-img', 'nbdkit'), async (t) => {
  const image = emptyImage(t, 32 * MiB)
  const origin = await Mqnbd.serve(t, [image])
  const server = await Mqnbd.serve(t, [
    '--blockdev',
    `nbd,node-name=n,server.type=unix,server.path=${origin.socket!}`,
    '--export',
    'nbd,id=e,node-name=n,name=x,writable=on'
  ])
  const pattern = await Nbdkit.serve(t, ['sparse-random', 'size=32M', 'seed=7', 'percent=40'])
  await runOk(t, program('nbdcopy'), ['--flush', pattern.uri, server.uri])
  const out = path.join(tempDir(t), 'out')
  await runOk(t, program('nbdcopy'), [server.uri, out])
  for (const file of [image, out]) {
    const compared = await runOk(t, program('qemu-img'), ['compare', '-f', 'raw', file, pattern.uri])
    t.match(compared, 'Images are identical')
  }
})

void t.test(
  'chain - to qemu-nbd',
  requires('qemu-nbd', 'qemu-img', 'nbdinfo', 'nbdcopy', 'nbdkit'),
  async (t) => {
    const image = emptyImage(t, 32 * MiB)
    const origin = await QemuNbd.serve(t, ['-f', 'raw', '-e', '2', '--discard=unmap', image])
    const server = await Mqnbd.serve(t, [origin.uri, '-f', 'raw', '--iothreads', '2'])
    const pattern = await Nbdkit.serve(t, ['sparse-random', 'size=32M', 'seed=8', 'percent=30'])
    await runOk(t, program('nbdcopy'), ['--flush', pattern.uri, server.uri])
    const compared = await runOk(t, program('qemu-img'), ['compare', '-f', 'raw', server.uri, pattern.uri])
    t.match(compared, 'Images are identical')
    const map = ['map', '--output=json', '-f', 'raw']
    t.equal(
      await runOk(t, program('qemu-img'), [...map, server.uri]),
      await runOk(t, program('qemu-img'), [...map, origin.uri])
    )
  }
)

void t.test('chain - block sizes travel up', requires('nbdkit'), async (t) => {
  const sizes = ['blocksize-minimum=4096', 'blocksize-preferred=64K', 'blocksize-maximum=1M']
  const policy = ['--filter=blocksize-policy', 'memory', '8M']
  const origin = await Nbdkit.serve(t, [...policy, ...sizes, 'blocksize-error-policy=error'])
  // The format is guessed, by reading whole blocks.
  const server = await Mqnbd.serve(t, [origin.uri])
  const disk = await connect(server.uri)
  t.teardown(() => disk.close())
  t.match(disk.blockSizes, { minimum: 4096, preferred: 64 * 1024 })
  await disk.write(0, Buffer.alloc(4 * MiB, 5))
  t.ok((await disk.read(4096, 3 * MiB)).equals(Buffer.alloc(3 * MiB, 5)))
  t.equal((await failureOf(disk.read(1, 4096))).errno, 22)
})

void t.test('chain - what the origin does not offer', requires('nbdkit'), async (t) => {
  const without = ['--filter=nozero', '--filter=nocache', '--filter=noextents']
  const origin = await Nbdkit.serve(t, [
    '--no-sr',
    ...without,
    'memory',
    '8M',
    'zeromode=none',
    'cachemode=none'
  ])
  const server = await Mqnbd.serve(t, [origin.uri, '-f', 'raw'])
  const disk = await connect(server.uri)
  t.teardown(() => disk.close())
  await disk.write(0, Buffer.alloc(3 * MiB, 5), { fua: true })
  await disk.zero(512, 2 * MiB, { fua: true })
  t.ok((await disk.read(512, 2 * MiB)).equals(Buffer.alloc(2 * MiB)))
  t.ok((await disk.read(2 * MiB + 512, MiB - 512)).equals(Buffer.alloc(MiB - 512, 5)))
  t.equal((await failureOf(disk.zero(0, 512, { fast: true }))).errno, 95)
  await disk.cache(0, MiB)
  const extents: unknown[] = []
  for await (const extent of disk.blockStatus()) extents.push(extent)
  t.same(extents, [{ offset: 0, length: 8 * MiB, flags: 0 }])
})
