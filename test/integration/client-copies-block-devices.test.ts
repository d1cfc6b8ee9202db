import * as crypto from 'node:crypto'
import * as path from 'node:path'
import t from 'tap'
import { isRefusal } from '../helpers/command-line.ts'
import { emptyImage, imageOf, MiB, readAt, sameBytes } from '../helpers/files.ts'
import { requiresLoopDevice, withLoopDevice } from '../helpers/loop-device.ts'
import { mqnbd, Mqnbd } from '../helpers/mqnbd.ts'
import { tempDir } from '../helpers/temp-dir.ts'

void t.test('copy - to and from a block device', requiresLoopDevice(), async (t) => {
  const original = imageOf(
    t,
    Buffer.concat([crypto.randomBytes(MiB), Buffer.alloc(MiB), crypto.randomBytes(512)])
  )
  const behind = imageOf(t, Buffer.alloc(3 * MiB, 'old'))
  const fetched = path.join(tempDir(t), 'fetched.img')
  await withLoopDevice(t, behind, [], async (device) => {
    for (const [source, destination] of [
      [original, device],
      [device, fetched]
    ] as const)
      t.match(await mqnbd(t, 'copy', '--flush', source, destination), { status: 0, stdout: '', stderr: '' })
    const small = emptyImage(t, 4 * MiB)
    const why = /that has only 3145728 bytes of the 4194304 that are needed/
    isRefusal(t, await mqnbd(t, 'copy', small, device), 1, why, 'one that is too small')
    const server = await Mqnbd.serve(t, ['memory:3M'])
    t.match(await mqnbd(t, 'copy', device, server.uri), { status: 0, stderr: '' })
    t.match(await mqnbd(t, 'compare', device, server.uri), { status: 0, stdout: 'Images are identical.\n' })
  })
  t.ok(sameBytes(behind, fetched))
  const length = 2 * MiB + 512
  t.ok(readAt(fetched, 0, length).equals(readAt(original, 0, length)))
  t.ok(
    readAt(fetched, length, MiB).equals(readAt(imageOf(t, Buffer.alloc(3 * MiB, 'old')), length, MiB)),
    'the rest'
  )
})
