/** `--image-opts`, as qemu-nbd has it. */
import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import t from 'tap'
import { connect } from '../../client/index.ts'
import { allRefused } from '../helpers/command-line.ts'
import { imageOf, MiB } from '../helpers/files.ts'
import { mqnbd, Mqnbd } from '../helpers/mqnbd.ts'
import { QemuNbd } from '../helpers/qemu-nbd.ts'
import { requires } from '../helpers/requires.ts'

const bytes = crypto.randomBytes(3 * MiB)

void t.test(
  '--image-opts - serves what qemu-nbd serves by it',
  requires('qemu-nbd', 'nbdinfo'),
  async (t) => {
    const image = imageOf(t, bytes)
    // From qemu-nbd's manual.
    const slice = `driver=raw,offset=1M,size=1M,file.driver=file,file.filename=${image}`
    const options = ['-D', 'one of three', '-r', '--image-opts', slice]
    const ours = await Mqnbd.serve(t, options)
    const theirs = await QemuNbd.serve(t, ['-e', '0', ...options])
    for (const uri of [ours.uri, theirs.uri]) {
      const disk = await connect(uri)
      t.equal(disk.size, MiB)
      t.equal(disk.flags.readOnly, true)
      const all = Buffer.alloc(MiB)
      await disk.read(0, all)
      t.ok(all.equals(bytes.subarray(MiB, 2 * MiB)))
      await disk.close()
    }
  }
)

void t.test('--image-opts - can be written, by several threads', async (t) => {
  const image = imageOf(t, bytes)
  const described = `driver=file,filename=${image},discard=off`
  const server = await Mqnbd.serve(t, [
    '--image-opts',
    described,
    '--cache',
    'writethrough',
    '--iothreads',
    '2'
  ])
  const disk = await connect(server.uri)
  await disk.write(MiB, Buffer.alloc(100, 'x'))
  await disk.close()
  t.ok(
    fs
      .readFileSync(image)
      .subarray(MiB, MiB + 100)
      .equals(Buffer.alloc(100, 'x'))
  )
})

void t.test('--image-opts - what it describes is not said again, and what is wrong is told', async (t) => {
  const raw = 'driver=raw,file.driver=memory,file.size=1M'
  await allRefused(
    t,
    ['serve', '-p', '0', '--image-opts', raw],
    [
      [['-f', 'raw'], /--format goes with a file; in --image-opts, the driver is the format/],
      [['-o', '1M'], /--offset goes with a file; in --image-opts, it is driver=raw,offset=/],
      [['--size', '1M'], /--size goes with a file; in --image-opts, it is driver=raw,size=/],
      [
        ['--cache', 'none'],
        /--cache none goes with a file; in --image-opts, it is cache\.direct=on of driver=file/
      ],
      [['-n'], /--nocache goes with a file; in --image-opts, it is cache\.direct=on/],
      [['--cache', 'directsync'], /cache\.direct=on of driver=file, and --cache writethrough/],
      [['--cache', 'unsafe'], /cache\.no-flush=on/],
      [['--aio', 'threads'], /--aio goes with a file; in --image-opts, it is aio=/],
      [['--discard', 'off'], /--discard goes with a file; in --image-opts, it is discard=/],
      [['--detect-zeroes', 'off'], /--detect-zeroes goes with a file; in --image-opts, it is detect-zeroes=/],
      [['--blockdev', 'memory,node-name=m,size=1M'], /either IMAGE or --blockdev/]
    ],
    2
  )
  await allRefused(
    t,
    ['serve', '-p', '0', '--image-opts'],
    [
      [['disk.img'], /--image-opts: driver: there is no block driver 'disk\.img'/],
      [['driver=raw'], /--image-opts: 'file' is missing/],
      [['driver=memory,size=1M,siz=1'], /--image-opts: 'siz' is unknown/],
      [['driver=raw,file=a'], /--image-opts: file: there is no node 'a'/],
      [['file.driver=memory,file.size=1M'], /--image-opts: 'driver' is missing/],
      [
        ['driver=memory,size=1M,discard=ignore,detect-zeroes=unmap'],
        /--image-opts: detect-zeroes=unmap is of no use with discard=ignore/
      ]
    ],
    1
  )
  const { status, stderr } = await mqnbd(
    t,
    'serve',
    '--image-opts',
    '--blockdev',
    'memory,node-name=m,size=1M'
  )
  t.equal(status, 2)
  t.match(stderr, /--image-opts goes with IMAGE/)
})
