import { constants } from 'node:os'
import * as net from 'node:net'
import * as path from 'node:path'
import t, { type Test } from 'tap'
import { connect } from '../../client/index.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import {
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_FLAG_HAS_FLAGS,
  NBD_FLAG_SEND_FLUSH,
  NBD_OPT_GO,
  NBD_REP_ERR_UNKNOWN
} from '../helpers/raw-constants.ts'
import { tempDir } from '../helpers/temp-dir.ts'
import { waitFor, within } from '../helpers/wait-for.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'
import { go, reply } from '../unit/client/helpers/handshakes.ts'
import { simpleReply } from '../unit/client/helpers/reply-bytes.ts'
import {
  handshake,
  infoExport,
  scriptedServer,
  SIZE,
  type Peer,
  type Request
} from '../unit/client/helpers/scripted-server.ts'

const { EINVAL, ESTALE, ETIMEDOUT } = constants.errno
const ESHUTDOWN = 108
const FLAGS = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH
/** Longer than any test takes. */
const LONG_MS = 600_000

interface Received extends Request {
  peer: Peer
}

/** @param of what is answered to the n-th GO; undefined: the connection is closed instead */
async function server(
  t: Test,
  of: (n: number) => Record<number, Buffer[]> | undefined = () => go(infoExport(SIZE, FLAGS))
): Promise<{ uri: string; requests: Received[]; peers: Peer[] }> {
  const requests: Received[] = []
  let count = 0
  const { uri, peers } = await scriptedServer(t, async (peer) => {
    const answers = of(count++)
    if (!answers || !(await handshake(peer, { answers }))) return
    for (let request = await peer.request(); request; request = await peer.request())
      requests.push({ ...request, peer })
  })
  return { uri, requests, peers }
}

void t.test('client - what a lost connection left unanswered is sent again', async (t) => {
  const { uri, requests, peers } = await server(t)
  const disk = await connect(uri, { reconnectDelayMs: LONG_MS })
  const calls = Promise.all([
    disk.write(512, Buffer.alloc(512, 7)),
    disk.write(0, Buffer.alloc(20_000, 8)),
    failureOf(disk.read(0, 100))
  ])
  await waitFor('three requests', () => requests.length === 3)
  const abandoned = new AbortController()
  const given = disk.read(9, 9, { signal: abandoned.signal })
  await waitFor('a fourth', () => requests.length === 4)
  abandoned.abort()
  await t.rejects(given, { name: 'AbortError' })
  requests[0]!.peer.send(simpleReply(requests[0]!.cookie))
  peers[0]!.socket.end()
  await waitFor('the others once more', () => requests.length === 6)
  t.equal(disk.state, 'READY')
  const again = requests.slice(4)
  t.strictSame(
    again.map(({ type, length }) => [type, length]),
    [
      [NBD_CMD_WRITE, 20_000],
      [NBD_CMD_READ, 100]
    ],
    'neither what was answered nor what was given up'
  )
  t.ok(again[0]!.payload.every((byte) => byte === 8))
  again[0]!.peer.send(simpleReply(again[0]!.cookie), simpleReply(again[1]!.cookie, 22))
  const [, , failure] = await within('all calls', calls)
  t.equal(failure.errno, EINVAL, 'a request that fails is not sent again')
  t.equal(requests.length, 6)
  await disk.close()
})

void t.test('client - an idle connection that is lost is made again', async (t) => {
  const { uri, peers } = await server(t)
  const disk = await connect(uri, { reconnectDelayMs: LONG_MS })
  peers[0]!.socket.destroy()
  await waitFor('another connection', () => peers.length === 2)
  await waitFor('it to be there', () => disk.state === 'READY')
  await disk.close()
  t.equal(disk.state, 'CLOSED')
})

void t.test('client - a server that shuts down is left, and what it did not do is sent again', async (t) => {
  const { uri, requests, peers } = await server(t)
  const disk = await connect(uri, { reconnectDelayMs: LONG_MS })
  const write = disk.write(0, Buffer.alloc(10))
  await waitFor('the write', () => requests.length === 1)
  peers[0]!.send(simpleReply(requests[0]!.cookie, ESHUTDOWN))
  await waitFor('the write once more', () => requests.some(({ peer }) => peer === peers[1]))
  const again = requests.find(({ peer }) => peer === peers[1])!
  again.peer.send(simpleReply(again.cookie))
  await within('the write', write)
  await disk.close()
})

void t.test(
  'client - calls wait for a connection no longer than they may, and work when it is there',
  async (t) => {
    let open = true
    const { uri, peers, requests } = await server(t, () => (open ? go(infoExport(SIZE, FLAGS)) : undefined))
    const disk = await connect(uri, { reconnectDelayMs: 300 })
    open = false
    const write = failureOf(disk.write(0, Buffer.alloc(10)))
    await waitFor('the write', () => requests.length === 1)
    peers[0]!.socket.destroy()
    await waitFor('the client to notice', () => disk.state === 'CONNECTING')
    t.equal((await failureOf(disk.read(0, 1, { timeoutMs: 10 }))).errno, ETIMEDOUT, 'or than this call may')
    const failure = await within('the write', write)
    t.equal(failure.kind, 'transport')
    t.match(
      failure.message,
      /^NBD_CMD_WRITE of 10 bytes at 0: the connection was lost, and not there again within 300 ms: cannot open/
    )
    t.match((await failureOf(disk.read(0, 1))).message, /not there again/, 'at once')
    open = true
    await waitFor('the connection', () => disk.state === 'READY')
    const read = failureOf(disk.read(0, 1))
    await waitFor('the read', () => requests.length === 2)
    requests[1]!.peer.send(simpleReply(requests[1]!.cookie, 22))
    t.equal((await read).errno, EINVAL)
    await disk.close()
  }
)

void t.test('client - a refusal, another export, or a broken server is the end', async (t) => {
  const ends: [string, Record<number, Buffer[]>, object][] = [
    [
      'a refusal',
      reply(NBD_OPT_GO, NBD_REP_ERR_UNKNOWN),
      { kind: 'request', message: /no such export|unknown/i }
    ],
    [
      'another size',
      go(infoExport(SIZE * 2n, FLAGS)),
      { errno: ESTALE, message: /size was 1048576, and is 2097152/ }
    ],
    ['other flags', go(infoExport(SIZE, FLAGS | 2)), { errno: ESTALE, message: /flags was/ }]
  ]
  for (const [name, answers, expected] of ends) {
    const { uri, peers, requests } = await server(t, (n) => (n === 0 ? go(infoExport(SIZE, FLAGS)) : answers))
    const disk = await connect(uri, { reconnectDelayMs: LONG_MS })
    const write = failureOf(disk.write(0, Buffer.alloc(10)))
    await waitFor('the write', () => requests.length === 1)
    peers[0]!.socket.destroy()
    const failure = await within(name, write)
    t.match(failure, expected, name)
    t.match(failure.message, /^NBD_CMD_WRITE of 10 bytes at 0: /)
    t.equal(disk.state, 'DEAD')
    t.equal(peers.length, 2)
    await disk.close()
  }
  const { uri, peers, requests } = await server(t)
  const disk = await connect(uri, { reconnectDelayMs: LONG_MS })
  const write = failureOf(disk.write(0, Buffer.alloc(10)))
  await waitFor('the write', () => requests.length === 1)
  peers[0]!.send(Buffer.alloc(16, 0x42))
  t.equal((await within('the write', write)).kind, 'protocol')
  t.equal(disk.state, 'DEAD')
  await disk.close()
})

void t.test('client - close ends the waiting', async (t) => {
  const { uri, peers } = await server(t, (n) => (n === 0 ? go(infoExport(SIZE, FLAGS)) : undefined))
  const disk = await connect(uri, { reconnectDelayMs: LONG_MS })
  peers[0]!.socket.destroy()
  await waitFor('some attempts', () => peers.length > 2)
  const write = failureOf(disk.write(0, Buffer.alloc(10)))
  await within('close', disk.close())
  t.match((await within('the write', write)).message, /the connection was closed/)
  const count = peers.length
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(peers.length, count)
})

void t.test('client - waits for a server that is yet to start', async (t) => {
  const socket = path.join(tempDir(t), 's')
  const uri = `nbd+unix:///?socket=${socket}`
  t.equal((await failureOf(connect(uri))).kind, 'transport', 'not without being told to')
  t.equal((await failureOf(connect(uri, { openTimeoutMs: 150 }))).kind, 'transport')
  const connecting = connect(uri, { openTimeoutMs: LONG_MS })
  await Mqnbd.serve(t, ['memory:1M', '-k', socket])
  const disk = await within('the connection', connecting)
  t.equal(disk.size, 1 << 20)
  await disk.close()
})

void t.test('client - a refusal is not tried again', async (t) => {
  const { uri, peers } = await server(t, () => reply(NBD_OPT_GO, NBD_REP_ERR_UNKNOWN))
  t.equal((await failureOf(connect(uri, { openTimeoutMs: LONG_MS }))).kind, 'request')
  t.equal(peers.length, 1)
})

void t.test('client - connecting can be given up', async (t) => {
  const socket = path.join(tempDir(t), 's')
  const uri = `nbd+unix:///?socket=${socket}`
  const controller = new AbortController()
  const { signal } = controller
  const waiting = connect(uri, { openTimeoutMs: LONG_MS, signal })
  // A server that says nothing.
  const clients: net.Socket[] = []
  const listener = net.createServer((client) => clients.push(client))
  t.teardown(() => {
    for (const client of clients) client.destroy()
    listener.close()
  })
  await new Promise<void>((resolve) => listener.listen(socket, resolve))
  await waitFor('it to connect', () => clients.length === 1)
  const why = new Error('changed my mind')
  controller.abort(why)
  await t.rejects(within('the end', waiting), why)
  await t.rejects(connect(uri, { signal }), why)
  await waitFor(
    'the client to go',
    () => clients[0]!.readableEnded || clients[0]!.destroyed || clients[0]!.resume().closed
  )
  t.equal((await failureOf(connect(uri, { reconnectDelayMs: -5 }))).errno, EINVAL)
})
