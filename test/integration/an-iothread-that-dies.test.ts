import * as fs from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { openImage } from '../../shared/block/index.ts'
import { setLogLevel } from '../../shared/log/log.ts'
import { Bystander } from '../helpers/bystander.ts'
import { run } from '../helpers/launched.ts'
import { openSockets } from '../helpers/proc.ts'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_CMD_READ,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_GO,
  NBD_OPT_INFO,
  NBD_OPT_LIST,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ERR_UNKNOWN
} from '../helpers/raw-constants.ts'
import { DIE } from '../helpers/raw-entry-points.ts'
import { serveBound, type Bound } from '../helpers/raw-server.ts'
import { infoPayload, metaPayload, option } from '../helpers/raw-wire.ts'
import { tempDir } from '../helpers/temp-dir.ts'
import { waitFor, within } from '../helpers/wait-for.ts'

// What the server logs then is looked at below, in a process of its own.
setLogLevel('silent')

/** Lets a thread die, outside of any request. @returns what the server was told */
async function kill({ server, threads }: Bound, number: number): Promise<{ error: Error; left: number }> {
  const fault = new Promise<{ error: Error; left: number }>((resolve) => {
    server.onFault = (error, left) => resolve({ error, left })
  })
  await threads[number]!.run(DIE, 'out of luck').catch(() => undefined)
  return within('onFault', fault)
}

void t.test('fault - is reported with its stack, and exports of other threads are served on', async (t) => {
  const server = await serveBound(t, 2, { a: [0], b: [1] })
  const victims = [
    await RawClient.transmit(t, server, { name: 'a' }),
    await RawClient.transmit(t, server, { name: 'a' })
  ]
  const bystanders = [
    await Bystander.start(t, server, 0, 'b'),
    await Bystander.start(t, server, 128 * 1024, 'b')
  ]
  const { error, left } = await kill(server, 0)
  t.match(error, { message: /out of luck/, stack: /raw-entry-points/ })
  t.equal(left, 1)
  for (const victim of victims) t.equal((await victim.closed()).length, 0, 'a client of the export is closed')
  for (const bystander of bystanders) {
    await t.resolves(bystander.goesOn())
    await t.resolves(bystander.stop())
  }
})

void t.test('fault - who asks for a lost export is told why, in every way of asking', async (t) => {
  const server = await serveBound(t, 2, { a: [0], b: [1] })
  await kill(server, 0)
  for (let i = 0; i < 4; i++) {
    const client = await RawClient.negotiate(t, server)
    t.equal(await client.askOnce(NBD_OPT_STRUCTURED_REPLY), 1)
    for (const [number, payload] of [
      [NBD_OPT_INFO, infoPayload('a')],
      [NBD_OPT_SET_META_CONTEXT, metaPayload('a', ['base:allocation'])],
      [NBD_OPT_GO, infoPayload('a')]
    ] as const) {
      const [reply, ...more] = await client.ask(number, payload)
      t.equal(reply!.type, NBD_REP_ERR_UNKNOWN)
      t.equal(reply!.payload.toString(), "export 'a' is not served any more: IOThread io0 died")
      t.equal(more.length, 0)
    }
    const names = (await client.ask(NBD_OPT_LIST))
      .slice(0, -1)
      .map(({ payload }) => payload.toString('utf8', 4))
    t.same(names, ['b'], 'it is not listed')
    t.equal(await client.askOnce(NBD_OPT_INFO, infoPayload('')), NBD_REP_ERR_UNKNOWN, 'nor is b the only one')
    await client.go('b')
    client.structured = true
    t.equal((await client.call({ type: NBD_CMD_READ, length: 512 })).error, 0, 'the other export is served')
  }
  const old = await RawClient.negotiate(t, server)
  old.send(option(NBD_OPT_EXPORT_NAME, Buffer.from('a')))
  t.equal((await old.closed()).length, 0)
})

void t.test('fault - an export that has other threads left goes on there', async (t) => {
  const server = await serveBound(t, 3, { a: [0, 1], b: [2] })
  const clients: RawClient[] = []
  for (let i = 0; i < 4; i++) {
    const client = await RawClient.transmit(t, server, { name: 'a' })
    // When a request is answered, the client is in the thread where it stays.
    await client.call({ type: NBD_CMD_READ, length: 512 })
    clients.push(client)
  }
  await kill(server, 0)
  const answers = await Promise.all(
    clients.map((client) =>
      client.call({ type: NBD_CMD_READ, length: 512 }).then(
        ({ error }) => error,
        () => 'closed'
      )
    )
  )
  t.same(
    answers.map(String).sort(),
    ['0', '0', 'closed', 'closed'],
    'half of the clients were in the dead thread'
  )
  for (let i = 0; i < 3; i++) {
    const client = await RawClient.transmit(t, server, { name: 'a' })
    t.equal((await client.call({ type: NBD_CMD_READ, length: 512 })).error, 0, 'new clients are served')
  }
  await kill(server, 1)
  const last = await RawClient.negotiate(t, server)
  t.equal(await last.askOnce(NBD_OPT_GO, infoPayload('a')), NBD_REP_ERR_UNKNOWN, 'until the last thread dies')
  await last.go('b')
})

void t.test('fault - a new export can be added, but not to a dead thread', async (t) => {
  const server = await serveBound(t, 2, { a: [0], b: [1] })
  await kill(server, 0)
  const node = await openImage({ image: 'memory:1M' })
  await t.rejects(server.server.addExport(node, { name: 'c', iothreads: [server.threads[0]!] }), {
    kind: 'config',
    message: /IOThread io0 does not run any more/
  })
  await server.server.addExport(node, { name: 'c' })
  const client = await RawClient.negotiate(t, server)
  t.equal(await client.askOnce(NBD_OPT_GO, infoPayload('a')), NBD_REP_ERR_UNKNOWN)
  await client.go('c')
  t.equal((await client.call({ type: NBD_CMD_READ, length: 512 })).error, 0)
})

void t.test('fault - leaves no descriptor, and the server can be closed', async (t) => {
  const server = await serveBound(t, 2, { a: [0], b: [1] })
  const sockets = openSockets(process.pid)
  const clients: RawClient[] = []
  for (let i = 0; i < 8; i++) {
    clients.push(
      await RawClient.transmit(t, server, { name: 'ab'[i % 2]! }),
      await RawClient.connect(t, server)
    )
  }
  await kill(server, 0)
  for (const client of clients) client.socket.destroy()
  await waitFor('the sockets to be closed', () => openSockets(process.pid) <= sockets)
  await t.resolves(within('close', server.server.close(1000)))
})

void t.test('fault - is logged as an error with the stack of the thread', async (t) => {
  const url = (file: string): string => JSON.stringify(new URL(`../../${file}`, import.meta.url).href)
  const script = `
    import { NBDServer } from ${url('server/index.js')}
    import { openImage } from ${url('shared/block/index.js')}
    import { IOThread } from ${url('shared/iothread/io-thread.js')}
    import { DIE } from ${url('test/helpers/raw-entry-points.js')}
    const thread = await IOThread.start('io7')
    const server = await NBDServer.start()
    await server.addExport(await openImage({ image: 'memory:1M' }), { name: 'disk', iothreads: [thread] })
    const fault = new Promise((resolve) => { server.onFault = (error, left) => resolve(left) })
    thread.run(DIE, 'out of luck').catch(() => undefined)
    console.log(await fault, 'left')
    await server.close(1000)
  `
  const file = path.join(tempDir(t), 'user.mjs')
  fs.writeFileSync(file, script)
  const { status, stdout, stderr } = await run(t, process.execPath, [file])
  t.equal(status, 0)
  t.equal(stdout, '0 left\n')
  const lines = stderr
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
  t.match(lines, [
    { level: 50, iothread: 'io7', msg: 'IOThread io7 died: out of luck', err: { stack: /raw-entry-points/ } },
    { level: 50, export: 'disk', msg: "export 'disk' is not served any more: IOThread io7 died" }
  ])
  t.equal(lines.length, 2)
})
