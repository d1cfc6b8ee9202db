import * as fs from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { copies, DATA_SIZE, sparseImage } from '../helpers/copying.ts'
import { allocatedBytes, emptyImage, imageOf, KiB, MiB, sameBytes } from '../helpers/files.ts'
import { mqnbd, Mqnbd } from '../helpers/mqnbd.ts'
import { tempDir } from '../helpers/temp-dir.ts'

void t.test('copy - file to server, server to server, server to file', async (t) => {
  const original = sparseImage(t)
  const { size } = fs.statSync(original)
  const [one, other] = [emptyImage(t, size), emptyImage(t, size + 5000)]
  fs.writeFileSync(one, Buffer.alloc(size, 0xaa))
  const first = await Mqnbd.serve(t, [one, '-f', 'raw'])
  const second = await Mqnbd.serve(t, [other, '-f', 'raw'])
  const fetched = path.join(tempDir(t), 'fetched.img')
  await copies(t, '--flush', original, first.uri)
  await copies(t, first.uri, second.uri)
  await copies(t, '-C', '2', '-R', '3', '--request-size=64K', first.uri, fetched)
  t.ok(sameBytes(original, fetched))
  t.ok(sameBytes(original, one))
  const { status, stdout } = await mqnbd(t, 'compare', original, second.uri)
  t.same({ status, stdout }, { status: 0, stdout: 'Warning: Image size mismatch!\nImages are identical.\n' })
  for (const file of [one, other, fetched])
    t.ok(allocatedBytes(file) < DATA_SIZE + 256 * KiB, `${allocatedBytes(file)} bytes are allocated`)
})

void t.test('copy - a file that was there before is not seen through', async (t) => {
  const original = sparseImage(t)
  const before = imageOf(t, Buffer.alloc(60 * MiB, 0xaa))
  await copies(t, original, before)
  t.ok(sameBytes(original, before))
  t.ok(allocatedBytes(before) < DATA_SIZE + 256 * KiB)
})

void t.test('copy - a server that has no place for so many connections', async (t) => {
  const original = sparseImage(t)
  const server = await Mqnbd.serve(t, [original, '-r', '-f', 'raw', '--shared=2'])
  const fetched = path.join(tempDir(t), 'fetched.img')
  await copies(t, '--connections=4', server.uri, fetched)
  t.ok(sameBytes(original, fetched))
})
