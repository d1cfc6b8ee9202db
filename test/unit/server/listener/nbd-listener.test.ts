import * as fs from 'node:fs'
import * as path from 'node:path'
import t, { type Test } from 'tap'
import { NBDListener, type ListenAddress } from '../../../../server/listener/nbd-listener.ts'
import { Coroutine } from '../../../../shared/coroutine/coroutine.ts'
import { QIOChannelSocket } from '../../../../shared/io/channel-socket.ts'
import { connectSocket } from '../../../../shared/io/connect.ts'
import { Memory } from '../../../../shared/syscall/memory.ts'
import { openSockets } from '../../../helpers/proc.ts'
import { tempDir } from '../../../helpers/temp-dir.ts'
import { waitFor, within } from '../../../helpers/wait-for.ts'

interface Connected {
  listener: NBDListener
  client: QIOChannelSocket
  server: QIOChannelSocket
}

/** Both ends of a connection, by the ways in which the program makes them. */
async function connected(t: Test, address: ListenAddress): Promise<Connected> {
  const accepted: number[] = []
  const listener = await NBDListener.listen(address, ({ fd }) => accepted.push(fd))
  t.teardown(() => listener.close())
  const client = await connectSocket(
    'path' in address ? address : { ...address, port: listener.port! },
    10_000
  )
  const server = new QIOChannelSocket(await waitFor('the client', () => accepted.shift()))
  t.teardown(async () => {
    for (const channel of [client, server]) channel.shutdown('both')
    await Promise.all([client.close(), server.close()])
  })
  return { listener, client, server }
}

async function transfer(from: QIOChannelSocket, to: QIOChannelSocket, text: string): Promise<string> {
  const memory = Memory.allocate(text.length)
  memory.buffer.write(text)
  const iov = [{ memory, start: 0, end: text.length }]
  await Coroutine.start(() => from.writevAll(iov))
  memory.buffer.fill(0)
  await within(
    'the bytes',
    Coroutine.start(() => to.readvAll(iov))
  )
  return memory.buffer.toString('latin1', 0, text.length)
}

for (const [line, address] of [
  ['I11 socket ipv4', () => ({ host: '127.0.0.1', port: 0 })],
  ['I13 socket unix', (t: Test) => ({ path: path.join(tempDir(t), 's') })],
  ['abstract unix socket', () => ({ path: `\0mqnbd-test-${process.pid}` })]
] as const) {
  void t.test(`${line}: what listens and what connects, ends that are closed or not`, async (t) => {
    const before = openSockets(process.pid)
    const { listener, client, server } = await connected(t, address(t))
    for (const { features } of [client, server]) {
      t.ok(features.has('shutdown'))
      t.equal(features.has('fd-pass'), line !== 'I11 socket ipv4')
    }
    t.equal(await transfer(client, server, 'there'), 'there')
    t.equal(await transfer(server, client, 'and back'), 'and back')
    client.shutdown('write')
    await client.close()
    await server.close()
    await server.close()
    await listener.close()
    await waitFor('the descriptors to be closed', () => openSockets(process.pid) <= before)
  })
}

void t.test('I14 the socket file lives as long as its listener', async (t) => {
  const socket = path.join(tempDir(t), 's')
  const { listener, client, server } = await connected(t, { path: socket })
  t.ok(fs.lstatSync(socket).isSocket())
  await server.close()
  await client.close()
  t.ok(fs.existsSync(socket), 'it survives the accepted connection')
  const again = await connectSocket({ path: socket }, 10_000)
  await again.close()
  await listener.close()
  t.notOk(fs.existsSync(socket), 'and goes with the listener')
})

void t.test('I16 unix-listen-cleanup: a channel that did not listen unlinks nothing', async (t) => {
  const socket = path.join(tempDir(t), 's')
  const { listener, client, server } = await connected(t, { path: socket })
  await listener.close()
  // Somebody else's by now.
  fs.writeFileSync(socket, 'precious')
  await Promise.all([client.close(), server.close()])
  t.equal(fs.readFileSync(socket, 'utf8'), 'precious')
})

void t.test('listener - an abstract name that is taken is refused in one line', async (t) => {
  const address = { path: `\0mqnbd-test-taken-${process.pid}` }
  await connected(t, address)
  await t.rejects(
    NBDListener.listen(address, () => undefined),
    { kind: 'config', message: /^cannot listen on '@mqnbd-test-taken-\d+': .*in use/ }
  )
})
