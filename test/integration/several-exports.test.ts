import t, { type Test } from 'tap'
import { allRefused } from '../helpers/command-line.ts'
import { emptyImage, MiB, readAt } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import { NBD_CMD_READ, NBD_CMD_WRITE, NBD_FLAG_READ_ONLY, NBD_OPT_LIST } from '../helpers/raw-constants.ts'

const names = async (t: Test, server: Mqnbd): Promise<string[]> => {
  const client = await RawClient.negotiate(t, server)
  const servers = (await client.ask(NBD_OPT_LIST)).slice(0, -1)
  // The description follows the name.
  return servers.map(({ payload }) => payload.toString('utf8', 4, 4 + payload.readUInt32BE(0)))
}

void t.test('--export - several, each with its line, its node and its rights', async (t) => {
  const image = emptyImage(t, 3 * MiB)
  const server = await Mqnbd.serve(t, [
    ...['--object', 'iothread,id=io0,poll-max-ns=32768,poll-grow=2,poll-shrink=2,thread-pool-max=64'],
    ...['--object=qom-type=iothread,id=io1'],
    ...['--blockdev', `driver=file,node-name=f,filename=${image}`],
    ...['--blockdev', 'raw,node-name=disk,file=f'],
    ...['--export', 'type=nbd,id=e0,node-name=disk,name=one,writable=on,iothread.0=io0,iothread.1=io1'],
    ...['--blockdev', '{"driver":"memory","node-name":"mem","size":"5M"}'],
    ...['--export', 'nbd,id=e1,node-name=mem,iothread=io1'],
    ...['--export', '{"type":"nbd","id":"e2","node-name":"disk","name":"view","iothread":["io0"]}']
  ])
  const at = (name: string): string => `nbd+unix:///${name}?socket=${server.socket}`
  t.equal(
    server.process.stdout,
    `mqnbd: serving 'disk' (3 MiB) at ${at('one')}\n` +
      `mqnbd: serving 'mem' (5 MiB, read-only) at ${at('mem')}\n` +
      `mqnbd: serving 'disk' (3 MiB, read-only) at ${at('view')}\n`
  )
  t.same(await names(t, server), ['one', 'mem', 'view'])

  const expected = { one: [3 * MiB, false], mem: [5 * MiB, true], view: [3 * MiB, true] } as const
  const payload = Buffer.alloc(512, 9)
  for (const [name, [size, readOnly]] of Object.entries(expected)) {
    const client = await RawClient.negotiate(t, server)
    const told = await client.go(name)
    t.equal(Number(told.size), size, name)
    t.equal((told.flags & NBD_FLAG_READ_ONLY) !== 0, readOnly, `${name}: read-only`)
    const { error } = await client.call({ type: NBD_CMD_WRITE, offset: 512, payload })
    t.equal(error !== 0, readOnly, `${name}: writing`)
  }
  const client = await RawClient.transmit(t, server, { name: 'view' })
  const { data } = await client.call({ type: NBD_CMD_READ, offset: 512, length: 512 })
  t.ok(data.equals(payload), 'both exports of a node show what was written')
  t.same(await server.process.end(), { status: 0, signal: null })
  t.ok(readAt(image, 512, 512).equals(payload))
  t.equal(server.process.stderr, '')
})

void t.test('--export - without an IOThread of its own it gets one behind the scenes', async (t) => {
  const server = await Mqnbd.serve(t, [
    ...['--blockdev', 'memory,node-name=a,size=1M', '--blockdev', 'memory,node-name=b,size=2M'],
    ...['--export', 'nbd,id=a,node-name=a,description=the first', '--export', 'nbd,id=b,node-name=b,name=']
  ])
  t.same(await names(t, server), ['a', ''])
  for (const [name, size] of [['a', MiB] as const, ['', 2 * MiB] as const]) {
    const client = await RawClient.negotiate(t, server)
    t.equal(Number((await client.go(name)).size), size)
    t.equal((await client.call({ type: NBD_CMD_READ, length: 512 })).error, 0)
  }
})

const mem = ['--blockdev', 'memory,node-name=m,size=1M']
const exported = ['--export', 'nbd,id=e,node-name=m']

void t.test('--object, --blockdev, --export - what cannot be is told in one line, status 1', async (t) => {
  await allRefused(
    t,
    ['serve', '-p', '0'],
    [
      [mem, /nothing to serve: no --export/],
      [
        ['--object', 'iothrea,id=io0'],
        /--object: the object type 'iothrea' is unknown; did you mean 'iothread'/
      ],
      [[...exported, ...mem], /--export: node-name: there is no node 'm'/],
      [[...mem, ...exported, '--export', 'nbd,id=f,node-name=m'], /there is an export 'm' already/]
    ],
    1
  )
})

void t.test('--object, --blockdev, --export - do not go with IMAGE and its options: status 2', async (t) => {
  await allRefused(
    t,
    ['serve', '-p', '0'],
    [
      [['memory:1M', '--object', 'iothread,id=io0'], /of objects only TLS credentials go with IMAGE/],
      [['memory:1M', ...exported], /either IMAGE or --export/],
      [[...mem, '-r'], /--read-only goes with IMAGE; .*read-only=on/],
      [[...mem, '-x', 'name'], /--export-name goes with IMAGE; .*name=/],
      [[...mem, '--iothreads', '2'], /--iothreads goes with IMAGE; .*iothread/],
      [['--export'], /export/]
    ],
    2
  )
})
