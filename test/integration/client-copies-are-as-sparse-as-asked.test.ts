import * as fs from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { copies, DATA_SIZE, sparseImage } from '../helpers/copying.ts'
import { allocatedBytes, emptyImage, KiB, MiB, sameBytes } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { tempDir } from '../helpers/temp-dir.ts'

void t.test('copy - sparseness is as asked', async (t) => {
  const original = sparseImage(t)
  const copy = path.join(tempDir(t), 'copy.img')
  const { size } = fs.statSync(original)
  await copies(t, '-S', '0', original, copy)
  t.ok(sameBytes(original, copy))
  const unsearched = allocatedBytes(copy)
  t.ok(unsearched >= DATA_SIZE + 2 * MiB && unsearched < 10 * MiB, `holes, but no other: ${unsearched}`)
  await copies(t, '-S', '0', '--no-extents', original, copy)
  t.ok(sameBytes(original, copy))
  t.ok(allocatedBytes(copy) >= size, 'everything is read and written')
  await copies(t, '--no-extents', original, copy)
  t.ok(allocatedBytes(copy) < DATA_SIZE + 256 * KiB, 'zeroes are found')
  await copies(t, '--allocated', original, copy)
  t.ok(sameBytes(original, copy))
  t.ok(allocatedBytes(copy) >= size, 'no holes are left')
  const server = await Mqnbd.serve(t, [emptyImage(t, size), '-f', 'raw'])
  await copies(t, '--destination-is-zero', original, server.uri)
  await copies(t, '--synchronous', server.uri, copy)
  t.ok(sameBytes(original, copy))
})
