import * as fs from 'node:fs'
import t from 'tap'
import { ext4Image } from '../helpers/ext4-image.ts'
import { emptyImage, KiB, MiB } from '../helpers/files.ts'
import { nbdinfoMap, qemuMap } from '../helpers/image-map.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { requires, type Test } from '../helpers/requires.ts'

/** More extents than one reply brings. */
const ISLANDS = 6000

/** A file of small islands of data. */
function fragmentedImage(t: Test): string {
  const image = emptyImage(t, ISLANDS * 16 * KiB + 5 * KiB)
  const data = Buffer.alloc(4 * KiB, 'data')
  const fd = fs.openSync(image, 'r+')
  for (let i = 0; i < ISLANDS; i++) fs.writeSync(fd, data, 0, data.length, i * 16 * KiB + 8 * KiB)
  fs.closeSync(fd)
  return image
}

async function checkMaps(t: Test, image: string, least: number): Promise<void> {
  const expected = await qemuMap(t, image)
  t.ok(expected.length >= least, `the file has ${expected.length} extents`)
  const server = await Mqnbd.serve(t, [image, '-r'])
  t.same(await nbdinfoMap(t, server.uri), expected, 'nbdinfo --map of the export')
  t.same(await qemuMap(t, server.uri), expected, 'qemu-img map of the export')
}

const peers = requires('nbdinfo', 'qemu-img', 'mkfs.ext4')

void t.test('block status - of an image with a file system', peers, async (t) => {
  await checkMaps(t, await ext4Image(t), 10)
})

void t.test('block status - of thousands of small extents', peers, async (t) => {
  await checkMaps(t, fragmentedImage(t), 2 * ISLANDS)
})

void t.test('block status - of nothing but a hole, longer than 32 bits can tell', peers, async (t) => {
  await checkMaps(t, emptyImage(t, 9 * 1024 * MiB + 512), 1)
})

void t.test('block status - of a slice', peers, async (t) => {
  const image = emptyImage(t, 4 * MiB)
  const fd = fs.openSync(image, 'r+')
  fs.writeSync(fd, Buffer.alloc(MiB, 'data'), 0, MiB, 2 * MiB)
  fs.closeSync(fd)
  const server = await Mqnbd.serve(t, [image, '-r', '--offset', '1M', '--size', '1536K'])
  t.same(await nbdinfoMap(t, server.uri), [
    { offset: 0, length: MiB, zero: true, data: false },
    { offset: MiB, length: 512 * KiB, zero: false, data: true }
  ])
})
