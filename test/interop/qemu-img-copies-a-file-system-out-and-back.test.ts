import * as fs from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { waysIn } from '../helpers/endpoints.ts'
import { ext4Image } from '../helpers/ext4-image.ts'
import { allocatedBytes, emptyImage, sameBytes } from '../helpers/files.ts'
import { runOk } from '../helpers/launched.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { program, requires } from '../helpers/requires.ts'
import { tempDir } from '../helpers/temp-dir.ts'

void t.test('qemu-img', requires('qemu-img', 'mkfs.ext4', 'e2fsck'), async (t) => {
  const original = await ext4Image(t)
  const convert = (from: string, to: string, ...options: string[]): Promise<string> =>
    runOk(t, program('qemu-img'), ['convert', '-f', 'raw', '-O', 'raw', ...options, from, to])
  const compare = (one: string, other: string): Promise<string> =>
    runOk(t, program('qemu-img'), ['compare', '-f', 'raw', '-F', 'raw', one, other])

  for (const { name, args } of waysIn) {
    void t.test(`convert - fetches an image whole: ${name}`, async (t) => {
      const server = await Mqnbd.serve(t, [original, '-r', ...args])
      const fetched = path.join(tempDir(t), 'fetched.img')
      await convert(server.uri, fetched)
      t.match(await compare(original, server.uri), 'Images are identical')
      t.ok(sameBytes(original, fetched), 'the same bytes')
    })

    void t.test(`convert - writes an image whole: ${name}`, async (t) => {
      const written = emptyImage(t, fs.statSync(original).size)
      const server = await Mqnbd.serve(t, [written, ...args])
      await convert(original, server.uri, '-n')
      t.same(await server.process.end(), { status: 0, signal: null })
      t.match(await compare(original, written), 'Images are identical')
      t.ok(sameBytes(original, written), 'the same bytes')
      await runOk(t, program('e2fsck'), ['-fn', written])
      t.ok(allocatedBytes(written) < 1.25 * allocatedBytes(original), 'holes are still holes')
    })
  }
})
