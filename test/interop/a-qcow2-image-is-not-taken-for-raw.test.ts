import * as fs from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { emptyImage, MiB } from '../helpers/files.ts'
import { runOk } from '../helpers/launched.ts'
import { mqnbd, Mqnbd } from '../helpers/mqnbd.ts'
import { tryQemuIo } from '../helpers/qemu-io.ts'
import { program, requires, type Test } from '../helpers/requires.ts'
import { tempDir } from '../helpers/temp-dir.ts'

async function makeImage(t: Test, format: string): Promise<string> {
  const image = path.join(tempDir(t), `disk.${format}`)
  await runOk(t, program('qemu-img'), ['create', '-q', '-f', format, image, '1G'])
  return image
}

for (const format of ['qcow2', 'vmdk', 'vdi', 'vhdx']) {
  void t.test(`format - a ${format} image is refused without --format`, requires('qemu-img'), async (t) => {
    const image = await makeImage(t, format)
    const before = fs.readFileSync(image)
    const { status, stdout, stderr } = await mqnbd(t, 'serve', image, '-p', '0')
    t.equal(status, 1)
    t.equal(stdout, '')
    t.match(
      stderr,
      new RegExp(`^mqnbd: '[^']+' is a ${format} image, [^\\n]*--format raw[^\\n]*\\n$`),
      'one line'
    )
    t.ok(fs.readFileSync(image).equals(before), 'and not touched')
  })
}

void t.test(
  "format - '-f raw' serves the bytes of a qcow2 image",
  requires('qemu-img', 'nbdinfo'),
  async (t) => {
    const image = await makeImage(t, 'qcow2')
    const server = await Mqnbd.serve(t, [image, '-f', 'raw'])
    t.equal(await runOk(t, program('nbdinfo'), ['--size', server.uri]), `${fs.statSync(image).size}\n`)
    t.match(await runOk(t, program('qemu-img'), ['info', '-f', 'qcow2', server.uri]), /virtual size: 1 GiB/)
  }
)

void t.test('format - a guest cannot turn an image into a qcow2 one', requires('qemu-io'), async (t) => {
  const image = emptyImage(t, MiB)
  const magic = path.join(tempDir(t), 'magic')
  fs.writeFileSync(magic, Buffer.from('QFI\xfb', 'latin1'))
  const write = `write -s ${magic} 0 512`

  const guessed = await Mqnbd.serve(t, [image])
  const { status, stdout, stderr } = await tryQemuIo(t, guessed.uri, [], write)
  t.equal(status, 1)
  t.match(stdout + stderr, /not permitted/)
  t.ok(fs.readFileSync(image).equals(Buffer.alloc(MiB)), 'nothing was written')
  await guessed.process.end()

  const named = await Mqnbd.serve(t, [image, '-f', 'raw'])
  t.equal((await tryQemuIo(t, named.uri, [], write)).status, 0, 'unless its format was named')
})
