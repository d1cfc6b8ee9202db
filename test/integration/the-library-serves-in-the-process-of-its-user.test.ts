import * as fs from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { NBDServer, type ListenAddress } from '../../server/index.ts'
import { openImage } from '../../shared/block/index.ts'
import { formatTcpUri, formatUnixUri } from '../../shared/protocol/uri.ts'
import { emptyImage, imageOf, MiB } from '../helpers/files.ts'
import { run, runOk } from '../helpers/launched.ts'
import { builtModule } from '../helpers/mqnbd.ts'
import { qemuIo } from '../helpers/qemu-io.ts'
import { program, requires, type Test } from '../helpers/requires.ts'
import { tempDir } from '../helpers/temp-dir.ts'

const CLOSE_MS = 5000

async function start(
  t: Test,
  image: string,
  address: Exclude<ListenAddress, { cid: number }>
): Promise<{ server: NBDServer; uri: string }> {
  const server = await NBDServer.start({ iothreads: 2 })
  t.teardown(() => server.close(CLOSE_MS).catch(() => undefined))
  await server.addExport(await openImage({ image }), { name: 'disk', description: 'of a test' })
  const { port } = await server.listen(address)
  const uri =
    'path' in address ? formatUnixUri(address.path, 'disk') : formatTcpUri(address.host, port!, 'disk')
  return { server, uri }
}

void t.test('library - on TCP and a Unix socket', requires('qemu-io', 'nbdinfo'), async (t) => {
  const socket = path.join(tempDir(t), 's')
  for (const address of [{ host: '127.0.0.1', port: 0 }, { path: socket }]) {
    const image = emptyImage(t, MiB)
    const { server, uri } = await start(t, image, address)
    await qemuIo(t, uri, 'write -P 5 0 1M', 'read -P 5 0 1M', 'flush')
    const info = await runOk(t, program('nbdinfo'), ['--json', uri])
    t.match(JSON.parse(info), { exports: [{ 'export-name': 'disk', description: 'of a test' }] })
    await server.close(CLOSE_MS)
    t.ok(fs.readFileSync(image).equals(Buffer.alloc(MiB, 5)))
    t.not((await run(t, program('nbdinfo'), [uri])).status, 0, 'nobody is there after close')
  }
  t.notOk(fs.existsSync(socket))
})

void t.test('library - serves several exports by name', requires('qemu-io', 'nbdinfo'), async (t) => {
  const server = await NBDServer.start({ iothreads: 1 })
  for (const [name, byte] of Object.entries({ one: 1, two: 2 })) {
    await server.addExport(await openImage({ image: imageOf(t, Buffer.alloc(MiB, byte)), readOnly: true }), {
      name
    })
  }
  const { port } = await server.listen({ host: '127.0.0.1', port: 0 })
  const listed = await runOk(t, program('nbdinfo'), [
    '--list',
    '--json',
    formatTcpUri('127.0.0.1', port!, '')
  ])
  const { exports } = JSON.parse(listed) as { exports: Record<string, string>[] }
  t.same(exports.map((info) => info['export-name']).sort(), ['one', 'two'])
  for (const [name, byte] of Object.entries({ one: 1, two: 2 })) {
    const uri = formatTcpUri('127.0.0.1', port!, name)
    await t.resolves(runOk(t, program('qemu-io'), ['-r', '-f', 'raw', '-c', `read -P ${byte} 0 1M`, uri]))
  }
  t.not((await run(t, program('nbdinfo'), [formatTcpUri('127.0.0.1', port!, 'three')])).status, 0)
  await server.close(CLOSE_MS)
})

void t.test('library - close lets the process end, with 0, however the program was given', async (t) => {
  const script = `
    import { NBDServer } from ${JSON.stringify(builtModule('server/index.js'))}
    import { openImage } from ${JSON.stringify(builtModule('shared/block/index.js'))}
    const server = await NBDServer.start({ iothreads: 2 })
    await server.addExport(await openImage({ image: 'memory:1M' }))
    const { port } = await server.listen({ host: '127.0.0.1', port: 0 })
    if (!(port > 0)) throw new Error('no port')
    await server.close(1000)
    console.log('closed')
  `
  const file = path.join(tempDir(t), 'user.mjs')
  fs.writeFileSync(file, script)
  for (const [how, given] of Object.entries({ file: [file], '-e': ['--input-type=module', '-e', script] })) {
    const ran = await run(t, process.execPath, given)
    t.same(ran, { status: 0, signal: null, stdout: 'closed\n', stderr: '' }, how)
  }
})

void t.test('library - a listen that fails says why, and close still works', async (t) => {
  const server = await NBDServer.start({ iothreads: 1 })
  await server.addExport(await openImage({ image: 'memory:1M' }))
  const { port } = await server.listen({ host: '127.0.0.1', port: 0 })
  await t.rejects(server.listen({ host: '127.0.0.1', port: port! }), { message: /already in use/ })
  await t.rejects(openImage({ image: path.join(tempDir(t), 'nothing') }), { message: /no such file/ })
  await t.resolves(server.close(CLOSE_MS))
})
