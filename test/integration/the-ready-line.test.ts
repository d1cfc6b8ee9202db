import * as fs from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { emptyImage, MiB } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import { tempDir } from '../helpers/temp-dir.ts'

void t.test('ready line - is all that a server prints', async (t) => {
  const image = emptyImage(t, 3 * MiB)
  const server = await Mqnbd.serve(t, [image, '-r', '-x', 'disk'])
  await RawClient.transmit(t, server, { name: 'disk' })
  await server.process.end()
  const { stdout, stderr } = server.process
  const uri = `nbd+unix:///disk?socket=${server.socket}`
  t.equal(stdout, `mqnbd: serving '${image}' (3 MiB, read-only) at ${uri}\n`)
  t.equal(stderr, '')
})

void t.test('ready line - when it comes, clients are served', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1.5G', '-p', '0', '-b', '127.0.0.1'])
  t.match(server.process.stdout, /^mqnbd: serving 'memory:1.5G' \(1.5 GiB\) at nbd:\/\/127\.0\.0\.1:\d+\n$/)
  await t.resolves(RawClient.transmit(t, server))
})

void t.test('ready line - is one line, whatever the image is called', async (t) => {
  const image = path.join(tempDir(t), 'two\nlines')
  fs.renameSync(emptyImage(t, MiB), image)
  const server = await Mqnbd.serve(t, [image])
  t.match(server.process.stdout, /^mqnbd: serving [^\n]*\n$/)
})
