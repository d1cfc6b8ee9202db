import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import t from 'tap'
import { allocatedBytes, imageOf, KiB, MiB } from '../helpers/files.ts'
import { runOk } from '../helpers/launched.ts'
import { requiresLoopDevice, withLoopDevice } from '../helpers/loop-device.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { qemuIo } from '../helpers/qemu-io.ts'
import { program, requires } from '../helpers/requires.ts'

const SIZE = 16 * MiB

const peers = { ...requires('qemu-io', 'nbdinfo'), ...requiresLoopDevice() }

for (const sector of [512, 4096]) {
  void t.test(`block device - with sectors of ${sector} bytes, any byte of it`, peers, async (t) => {
    const expected = crypto.randomBytes(SIZE)
    const file = imageOf(t, expected)
    const options = ['--sector-size', String(sector)]
    const server = await withLoopDevice(t, file, options, (device) => Mqnbd.serve(t, [device]))
    t.equal(await runOk(t, program('nbdinfo'), ['--size', server.uri]), `${SIZE}\n`)

    await qemuIo(
      t,
      server.uri,
      ...['write -P 1 0 1M', 'write -P 2 2000001 77', 'write -f -P 3 3000000 100000'],
      ...['write -z 4M 1M', 'write -z 6000001 100001', 'write -z -u 8M 1M', 'discard 10M 2M', 'flush'],
      ...['read -P 1 0 1M', 'read -P 2 2000001 77', 'read -P 3 3000000 100000'],
      ...['read -P 0 4M 1M', 'read -P 0 6000001 100001', 'read -P 0 8M 1M']
    )
    expected.fill(1, 0, MiB).fill(2, 2_000_001, 2_000_078).fill(3, 3_000_000, 3_100_000)
    expected
      .fill(0, 4 * MiB, 5 * MiB)
      .fill(0, 6_000_001, 6_100_002)
      .fill(0, 8 * MiB, 9 * MiB)
    const bytes = fs.readFileSync(file)
    const discarded = [10 * MiB, 12 * MiB] as const
    // What was discarded may read as anything.
    t.ok(bytes.fill(0, ...discarded).equals(expected.fill(0, ...discarded)), 'the rest is as it should be')
    t.ok(allocatedBytes(file) < SIZE - 2 * MiB + 256 * KiB, 'discarding has given room back')
    t.same(await server.process.end(), { status: 0, signal: null })
  })
}
