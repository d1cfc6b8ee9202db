import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { imageOf, KiB, MiB } from '../helpers/files.ts'
import { run, runOk } from '../helpers/launched.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { qemuIo } from '../helpers/qemu-io.ts'
import { program, requires } from '../helpers/requires.ts'
import { tempDir } from '../helpers/temp-dir.ts'

const SIZE = 4 * MiB

const slices = [
  { args: ['--offset', '1M', '--size', '2M'], offset: MiB, length: 2 * MiB },
  { args: ['-o', '512'], offset: 512, length: SIZE - 512 },
  { args: ['--offset', '333', '--size', '77777'], offset: 333, length: 77_777 },
  { args: ['--offset', '4M'], offset: SIZE, length: 0 }
]

for (const { args, offset, length } of slices) {
  const title = `slice - ${args.join(' ')} is read and written at its place`
  void t.test(title, requires('nbdinfo', 'nbdcopy', 'qemu-io'), async (t) => {
    const expected = crypto.randomBytes(SIZE)
    const image = imageOf(t, expected)
    const server = await Mqnbd.serve(t, [image, ...args])
    t.equal(await runOk(t, program('nbdinfo'), ['--size', server.uri]), `${length}\n`)
    const fetched = path.join(tempDir(t), 'slice')
    await runOk(t, program('nbdcopy'), [server.uri, fetched])
    t.ok(fs.readFileSync(fetched).equals(expected.subarray(offset, offset + length)), 'what is read')

    if (length > 0) {
      await qemuIo(t, server.uri, `write -P 1 0 ${Math.min(length, 5 * KiB)}`, `write -P 2 ${length - 1} 1`)
      expected
        .fill(1, offset, offset + Math.min(length, 5 * KiB))
        .fill(2, offset + length - 1, offset + length)
    }
    t.not((await run(t, program('qemu-io'), ['-f', 'raw', '-c', `write ${length} 1`, server.uri])).status, 0)
    t.ok(fs.readFileSync(image).equals(expected), 'what is written, and nothing around it')
  })
}
