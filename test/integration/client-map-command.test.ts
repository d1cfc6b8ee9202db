import * as fs from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { isRefusal } from '../helpers/command-line.ts'
import { emptyImage, MiB } from '../helpers/files.ts'
import { qemuMap } from '../helpers/image-map.ts'
import { runOk } from '../helpers/launched.ts'
import { Mqnbd, mqnbd } from '../helpers/mqnbd.ts'
import { QemuNbd } from '../helpers/qemu-nbd.ts'
import { program, requires, type Test } from '../helpers/requires.ts'
import { tempDir } from '../helpers/temp-dir.ts'

const HOLE = 'hole,zero'

function image(t: Test): string {
  const file = emptyImage(t, 4 * MiB)
  const fd = fs.openSync(file, 'r+')
  fs.writeSync(fd, Buffer.alloc(MiB, 1), 0, MiB, MiB)
  fs.closeSync(fd)
  return file
}

const lines = [
  '         0     1048576    3  hole,zero',
  '   1048576     1048576    0  data',
  '   2097152     2097152    3  hole,zero',
  ''
].join('\n')

void t.test('map - of a file and of its export', async (t) => {
  const file = image(t)
  const { uri } = await Mqnbd.serve(t, [file, '-f', 'raw', '-r'])
  for (const target of [file, uri]) {
    t.match(await mqnbd(t, 'map', target), { status: 0, stdout: lines, stderr: '' })
    const json = JSON.parse((await mqnbd(t, 'map', '--json', target)).stdout) as unknown
    t.strictSame(json, [
      { offset: 0, length: MiB, type: 3, description: HOLE },
      { offset: MiB, length: MiB, type: 0, description: 'data' },
      { offset: 2 * MiB, length: 2 * MiB, type: 3, description: HOLE }
    ])
    t.equal(
      (await mqnbd(t, 'map', '--totals', target)).stdout,
      '   1048576  25.0%   0 data\n   3145728  75.0%   3 hole,zero\n'
    )
  }
})

void t.test('map - the extents that qemu-img finds', requires('qemu-img'), async (t) => {
  const file = emptyImage(t, 64 * MiB + 512)
  const fd = fs.openSync(file, 'r+')
  // More than one call to the block layer tells.
  for (let at = 0; at < 5000; at++) fs.writeSync(fd, Buffer.alloc(4096, 1), 0, 4096, at * 12288 + 4096)
  fs.closeSync(fd)
  const ours = JSON.parse((await mqnbd(t, 'map', '--json', file)).stdout) as { type: number }[]
  const map = ours.map(({ type, ...rest }) => ({ ...rest, zero: (type & 2) !== 0, data: (type & 1) === 0 }))
  const theirs = await qemuMap(t, file)
  t.ok(theirs.length > 10_000)
  t.match(map, theirs)
  t.equal(map.length, theirs.length)
})

void t.test(
  'map - of several contexts',
  requires('qemu-nbd', 'qemu-img', 'qemu-io', 'nbdinfo'),
  async (t) => {
    const file = path.join(tempDir(t), 'disk.qcow2')
    await runOk(t, program('qemu-img'), ['create', '-q', '-f', 'qcow2', file, '4M'])
    await runOk(t, program('qemu-img'), ['bitmap', '--add', file, 'b'])
    await runOk(t, program('qemu-io'), ['-c', 'write 1M 1M', file])
    const { uri } = await QemuNbd.serve(t, ['-f', 'qcow2', '-r', '-B', 'b', '-e', '4', file])
    const both = 'base:allocation,qemu:dirty-bitmap:b'
    t.equal(
      (await mqnbd(t, 'map', '-c', both, uri)).stdout,
      [
        '         0     1048576    3  hole,zero    0  clean',
        '   1048576     1048576    0  data    1  dirty',
        '   2097152     2097152    3  hole,zero    0  clean',
        ''
      ].join('\n')
    )
    t.strictSame(JSON.parse((await mqnbd(t, 'map', '-c', both, '--totals', '--json', uri)).stdout), [
      {
        size: MiB,
        percent: 25,
        contexts: {
          'base:allocation': { type: 0, description: 'data' },
          'qemu:dirty-bitmap:b': { type: 1, description: 'dirty' }
        }
      },
      {
        size: 3 * MiB,
        percent: 75,
        contexts: {
          'base:allocation': { type: 3, description: HOLE },
          'qemu:dirty-bitmap:b': { type: 0, description: 'clean' }
        }
      }
    ])
  }
)

void t.test('map --svg - draws, and prints nothing', async (t) => {
  const file = image(t)
  const { uri } = await Mqnbd.serve(t, [file, '-f', 'raw', '-r'])
  const picture = path.join(tempDir(t), 'map.svg')
  for (const target of [file, uri]) {
    t.match(await mqnbd(t, 'map', '--svg', picture, target), { status: 0, stdout: '', stderr: '' })
    const svg = fs.readFileSync(picture, 'utf8')
    t.match(svg, /^<svg /)
    t.ok(svg.includes(target.replaceAll('&', '&amp;')), 'it says of what')
    t.match(svg, /1 MiB/)
    t.match(svg, /3 MiB/)
  }
})

void t.test('map - of nothing', async (t) => {
  const file = emptyImage(t, 0)
  t.match(await mqnbd(t, 'map', file), { status: 0, stdout: '', stderr: '' })
  t.match(await mqnbd(t, 'map', '--totals', '--json', file), { status: 0, stdout: '[]\n', stderr: '' })
})

void t.test('map - says what it cannot do', async (t) => {
  const file = image(t)
  const { uri } = await Mqnbd.serve(t, ['memory:1M'])
  const refused: [args: string[], status: number, why: RegExp][] = [
    [['map'], 2, /map: which URI or file\?/],
    [['map', `${file}.none`], 1, /no such file/],
    [['map', 'no://uri'], 1, /no such file/],
    [['map', '-c', 'a:b', file], 1, /is a file, which has no metadata context but base:allocation/],
    [['map', '-c', 'a:b', uri], 1, /the server has no metadata context 'a:b' for this export/],
    [['map', '-c', 'a:b,', uri], 1, /the metadata context '' is empty/],
    [['map', '-f', 'raw', uri], 1, /whose format is the server's affair/],
    [['info', '--map=a:b', uri], 1, /the server has no metadata context 'a:b'/],
    [['info', '--map=', uri], 1, /the metadata context '' is empty/],
    [['info', '--totals', uri], 2, /--totals goes with --map/],
    [['info', '--size', '--map', uri], 2, /--size and --map exclude each other/],
    [['map', '--svg', `${file}/x.svg`, file], 1, /cannot write '.*x.svg': not a directory/],
    [['map', '--svg', `${file}.svg`, '--json', file], 2, /svg and json are mutually exclusive/],
    // Not 2, which is an answer.
    [['info', '--can', 'fly', uri], 1, /'fly' is nothing that --is, --can or --has can tell/]
  ]
  for (const [args, status, why] of refused)
    isRefusal(t, await mqnbd(t, ...args), status, why, args.join(' '))
})
