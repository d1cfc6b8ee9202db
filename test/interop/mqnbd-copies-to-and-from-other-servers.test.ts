import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import * as path from 'node:path'
import t, { type Test } from 'tap'
import { allocatedBytes, emptyImage, KiB, MiB, sameBytes } from '../helpers/files.ts'
import { runOk } from '../helpers/launched.ts'
import { mqnbd } from '../helpers/mqnbd.ts'
import { QemuNbd } from '../helpers/qemu-nbd.ts'
import { program, requires } from '../helpers/requires.ts'
import { tempDir } from '../helpers/temp-dir.ts'
import { Nbdkit } from '../unit/client/helpers/nbdkit.ts'

const SIZE = 16 * MiB

/** Data of odd lengths at odd places, and holes. */
function original(t: Test): string {
  const file = emptyImage(t, SIZE)
  const fd = fs.openSync(file, 'r+')
  for (const [offset, length] of [
    [0, 1_000_001],
    [5 * MiB + 77, 3],
    [9 * MiB - 1, 600_000],
    [SIZE - 1, 1]
  ] as const)
    fs.writeSync(fd, crypto.randomBytes(length), 0, length, offset)
  fs.closeSync(fd)
  return file
}

const nbdkit =
  (...args: string[]) =>
  async (t: Test): Promise<string> =>
    (await Nbdkit.serve(t, args)).uri

const servers: Record<string, { needs: string; serve: (t: Test) => Promise<string> }> = {
  'qemu-nbd': {
    needs: 'qemu-nbd',
    serve: async (t) => (await QemuNbd.serve(t, ['-f', 'raw', '-e', '4', emptyImage(t, SIZE)])).uri
  },
  nbdkit: { needs: 'nbdkit', serve: nbdkit('memory', '16M') },
  'nbdkit that cannot zero': { needs: 'nbdkit', serve: nbdkit('--filter=nozero', 'memory', '16M') },
  'nbdkit with simple replies': { needs: 'nbdkit', serve: nbdkit('--no-sr', 'memory', '16M') },
  'nbdkit without extents': { needs: 'nbdkit', serve: nbdkit('--filter=noextents', 'memory', '16M') },
  'nbdkit with one connection': {
    needs: 'nbdkit',
    serve: nbdkit('--filter=multi-conn', 'memory', '16M', 'multi-conn-mode=disable')
  },
  'nbdkit with blocks of 64K': {
    needs: 'nbdkit',
    serve: nbdkit(
      ...['--filter=blocksize-policy', 'memory', '16M', 'blocksize-minimum=64K', 'blocksize-preferred=64K'],
      ...['blocksize-maximum=1M', 'blocksize-error-policy=error']
    )
  }
}

for (const [name, { needs, serve }] of Object.entries(servers)) {
  void t.test(`copy - to and from ${name}`, requires(needs), async (t) => {
    const file = original(t)
    const fetched = path.join(tempDir(t), 'fetched.img')
    const uri = await serve(t)
    for (const [source, destination] of [
      [file, uri],
      [uri, fetched]
    ] as const) {
      const { status, stderr } = await mqnbd(t, 'copy', source, destination)
      t.same({ status, stderr }, { status: 0, stderr: '' })
    }
    t.ok(sameBytes(file, fetched))
    t.ok(allocatedBytes(fetched) < 1_600_004 + 256 * KiB, 'holes are holes')
    t.match(await mqnbd(t, 'compare', file, uri), { status: 0, stdout: 'Images are identical.\n' })
  })
}

void t.test('copy - leaves what nbdcopy leaves', requires('nbdcopy', 'nbdkit'), async (t) => {
  const file = original(t)
  const uri = await nbdkit('memory', '17M')(t)
  const [ours, theirs] = ['ours.img', 'theirs.img'].map((name) => path.join(tempDir(t), name)) as [
    string,
    string
  ]
  t.match(await mqnbd(t, 'copy', file, uri), { status: 0 })
  t.match(await mqnbd(t, 'copy', uri, ours), { status: 0 })
  await runOk(t, program('nbdcopy'), [uri, theirs])
  t.ok(sameBytes(ours, theirs))
  t.ok(allocatedBytes(ours) <= allocatedBytes(theirs), `${allocatedBytes(ours)}, ${allocatedBytes(theirs)}`)
})
