import t, { type Test } from 'tap'
import { MiB } from '../helpers/files.ts'
import { runOk } from '../helpers/launched.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { program, requires } from '../helpers/requires.ts'

/** Two exports on one IOThread each, and one on both. */
const serve = (t: Test, ...where: string[]): Promise<Mqnbd> =>
  Mqnbd.serve(t, [
    ...['--object', 'iothread,id=io0', '--object', 'iothread,id=io1'],
    ...['--blockdev', 'memory,node-name=a,size=1M', '--blockdev', 'memory,node-name=b,size=2M'],
    ...['--export', 'nbd,id=a,node-name=a,writable=on,iothread=io0'],
    ...['--export', 'nbd,id=b,node-name=b,description=the second,iothread=io1'],
    ...['--export', 'nbd,id=c,node-name=b,name=c d,writable=on,iothread.0=io0,iothread.1=io1'],
    ...where
  ])

for (const [where, address] of Object.entries({ 'a Unix socket': [], TCP: ['-p', '0', '-b', '127.0.0.1'] })) {
  void t.test(`nbdinfo --list - tells of all exports, on ${where}`, requires('nbdinfo'), async (t) => {
    const server = await serve(t, ...address)
    const root = server.uri.replace('/a', '/')
    const listed = JSON.parse(await runOk(t, program('nbdinfo'), ['--list', '--json', root])) as object
    t.match(listed, {
      exports: [
        { 'export-name': 'a', 'export-size': MiB, is_read_only: false },
        { 'export-name': 'b', 'export-size': 2 * MiB, is_read_only: true, description: 'the second' },
        { 'export-name': 'c d', 'export-size': 2 * MiB, is_read_only: false }
      ]
    })
  })

  void t.test(
    `qemu-img and qemu-io - use each of them, on ${where}`,
    requires('qemu-img', 'qemu-io'),
    async (t) => {
      const server = await serve(t, ...address)
      for (const [name, size] of Object.entries({ a: MiB, b: 2 * MiB, 'c%20d': 2 * MiB })) {
        const uri = server.uri.replace('/a', `/${name}`)
        const info = JSON.parse(await runOk(t, program('qemu-img'), ['info', '--output=json', uri])) as object
        t.match(info, { 'virtual-size': size, format: 'raw' }, name)
      }
      const writable = server.uri.replace('/a', '/c%20d')
      await runOk(t, program('qemu-io'), ['-f', 'raw', '-c', 'write -P 5 64k 64k', '-c', 'flush', writable])
      const b = server.uri.replace('/a', '/b')
      await t.resolves(runOk(t, program('qemu-io'), ['-r', '-f', 'raw', '-c', 'read -P 5 64k 64k', b]))
    }
  )
}
