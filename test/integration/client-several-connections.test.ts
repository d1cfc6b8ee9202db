import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import * as net from 'node:net'
import { constants } from 'node:os'
import t, { type Test } from 'tap'
import { connect } from '../../client/index.ts'
import { emptyImage, KiB, MiB } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { openSockets } from '../helpers/proc.ts'
import {
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_FLAG_CAN_MULTI_CONN,
  NBD_FLAG_HAS_FLAGS,
  NBD_FLAG_SEND_FLUSH,
  NBD_OPT_GO,
  NBD_REP_ERR_POLICY
} from '../helpers/raw-constants.ts'
import { requires } from '../helpers/requires.ts'
import { waitFor, within } from '../helpers/wait-for.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'
import { go, reply } from '../unit/client/helpers/handshakes.ts'
import { Nbdkit } from '../unit/client/helpers/nbdkit.ts'
import { simpleReply } from '../unit/client/helpers/reply-bytes.ts'
import {
  handshake,
  infoExport,
  scriptedServer,
  SIZE,
  type Peer,
  type Request,
  type Scripted
} from '../unit/client/helpers/scripted-server.ts'

const { EINVAL, ESTALE } = constants.errno
const FLAGS = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_CAN_MULTI_CONN

interface Received extends Request {
  peer: Peer
}

/** Notes what comes, by which connection; answers nothing by itself. @param of what is answered to the n-th GO */
async function server(
  t: Test,
  of: (n: number) => Record<number, Buffer[]> = () => go(infoExport(SIZE, FLAGS))
): Promise<Scripted & { requests: Received[] }> {
  const requests: Received[] = []
  let count = 0
  const scripted = await scriptedServer(t, async (peer) => {
    await handshake(peer, { answers: of(count++) })
    for (let request = await peer.request(); request; request = await peer.request())
      requests.push({ ...request, peer })
  })
  return { ...scripted, requests }
}

void t.test('client - several connections share the load', async (t) => {
  const { uri, peers, requests } = await server(t)
  const disk = await connect(uri, { connections: 4 })
  t.equal(disk.connections, 4)
  t.equal(peers.length, 4)
  let written = 0
  const writes = Array.from({ length: 8 }, async (_, i) => {
    await disk.write(i * 512, Buffer.alloc(512))
    written++
  })
  await waitFor('all', () => requests.length === 8)
  t.strictSame(
    peers.map((peer) => requests.filter((request) => request.peer === peer).length),
    [2, 2, 2, 2]
  )
  const [busy] = peers
  for (const { peer, cookie } of requests.splice(0)) if (peer !== busy) peer.send(simpleReply(cookie))
  await waitFor('six replies', () => written === 6)
  const more = Array.from({ length: 3 }, () => disk.write(0, Buffer.alloc(512)))
  await waitFor('three more', () => requests.length === 3)
  t.notOk(
    requests.some(({ peer }) => peer === busy),
    'one with requests in flight gets none'
  )
  for (const { socket } of peers) socket.destroy()
  await Promise.allSettled([...writes, ...more])
  await disk.close()
})

void t.test(
  'client - a flush is sent when all earlier writes are answered, on whatever connection',
  async (t) => {
    const { uri, requests } = await server(t)
    const disk = await connect(uri, { connections: 3 })
    const answer = (i: number): void => requests[i]!.peer.send(simpleReply(requests[i]!.cookie))
    const writes = [0, 1].map((i) => disk.write(i * 512, Buffer.alloc(512)))
    await waitFor('the writes', () => requests.length === 2)
    t.not(requests[0]!.peer, requests[1]!.peer)
    const flushed = disk.flush()
    const later = disk.write(1024, Buffer.alloc(512))
    await waitFor('the later write', () => requests.length === 3)
    answer(1)
    await writes[1]
    t.notOk(requests.some(({ type }) => type === NBD_CMD_FLUSH))
    answer(0)
    await waitFor('the flush', () => requests.length === 4)
    t.equal(requests[3]!.type, NBD_CMD_FLUSH)
    answer(3)
    await within('the flush', flushed)
    answer(2)
    await Promise.all([...writes, later])
    await disk.close()
    t.equal(disk.connections, 0)
  }
)

void t.test('client - there is one connection where more are not promised', requires('nbdkit'), async (t) => {
  const { uri } = await Nbdkit.serve(t, ['--filter=multi-conn', 'memory', '1M', 'multi-conn-mode=disable'])
  const disk = await connect(uri, { connections: 4 })
  t.teardown(() => disk.close())
  t.strictSame([disk.flags.canMultiConn, disk.connections], [false, 1])
  await disk.write(0, Buffer.alloc(512, 1))
  t.equal((await disk.read(0, 1))[0], 1)
  for (const connections of [0, 1.5, 65])
    t.equal((await failureOf(connect(uri, { connections }))).errno, EINVAL)
})

void t.test('client - all connections must be to the same export, or there is none', async (t) => {
  const sockets = openSockets(process.pid)
  const other = await server(t, (n) => go(infoExport(n === 2 ? SIZE * 2n : SIZE, FLAGS)))
  const failure = await failureOf(connect(other.uri, { connections: 4 }))
  t.match(failure, { errno: ESTALE, message: /not the same any more: size was 1048576, and is 2097152/ })
  const refusing = await server(t, (n) =>
    n === 3 ? reply(NBD_OPT_GO, NBD_REP_ERR_POLICY) : go(infoExport(SIZE, FLAGS))
  )
  t.equal((await failureOf(connect(refusing.uri, { connections: 4 }))).kind, 'request')
  await waitFor('all connections to be closed', () => {
    for (const { socket } of [...other.peers, ...refusing.peers]) socket.destroy()
    return openSockets(process.pid) <= sockets + 2
  })
})

void t.test('client - a lost connection fails its own calls; the others go on', async (t) => {
  const { uri, peers, requests } = await server(t)
  const disk = await connect(uri, { connections: 2 })
  const writes = [0, 1].map((i) => failureOf(disk.write(i, Buffer.alloc(1))))
  await waitFor('the writes', () => requests.length === 2)
  requests[0]!.peer.socket.destroy()
  t.equal((await within('the first', writes[0]!)).kind, 'transport')
  t.strictSame([disk.state, disk.connections], ['READY', 1])
  const next = disk.read(0, 10)
  await waitFor('the next', () => requests.length === 3)
  t.match(requests[2], { type: NBD_CMD_READ, peer: requests[1]!.peer })
  for (const { socket } of peers) socket.destroy()
  t.equal((await failureOf(next)).kind, 'transport')
  await writes[1]
  t.strictSame([disk.state, disk.connections], ['DEAD', 0])
  await disk.close()
})

void t.test('client - four connections write and read what one would', async (t) => {
  const image = emptyImage(t, 8 * MiB)
  const { uri } = await Mqnbd.serve(t, [image, '-f', 'raw', '--iothreads', '2'])
  const disk = await connect(uri, { connections: 4 })
  t.teardown(() => disk.close())
  t.equal(disk.connections, 4)
  const content = crypto.randomBytes(8 * MiB)
  const offsets = Array.from({ length: 256 }, (_, i) => i * 32 * KiB)
  await Promise.all(offsets.map((at) => disk.write(at, content.subarray(at, at + 32 * KiB))))
  await disk.flush()
  t.ok(fs.readFileSync(image).equals(content))
  const reads = await Promise.all(offsets.map((at) => disk.read(at, 32 * KiB)))
  t.ok(Buffer.concat(reads).equals(content))
})

void t.test(
  'client - what can be connected to only once has one connection, whose loss is the end',
  async (t) => {
    const { uri, peers } = await server(t)
    const stream = net.connect(new URL(uri).searchParams.get('socket')!)
    const disk = await connect(
      { stream },
      { connections: 4, reconnectDelayMs: 60_000, openTimeoutMs: 60_000 }
    )
    t.strictSame([disk.flags.canMultiConn, disk.connections], [true, 1])
    peers[0]!.socket.destroy()
    await waitFor('the end', () => disk.state === 'DEAD')
    t.equal((await failureOf(disk.read(0, 1))).kind, 'transport')
    await disk.close()
  }
)
