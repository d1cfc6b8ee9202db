import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import { constants } from 'node:os'
import t, { type Test } from 'tap'
import { connect, NBDDisk } from '../../client/index.ts'
import { openFile, writeFromFile } from '../helpers/file-writes.ts'
import { imageOf, MiB } from '../helpers/files.ts'
import { NBD_CMD_FLUSH, NBD_OPT_GO, NBD_REP_ACK, NBD_REP_INFO } from '../helpers/raw-constants.ts'
import { requires } from '../helpers/requires.ts'
import { within } from '../helpers/wait-for.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'
import { Nbdkit } from '../unit/client/helpers/nbdkit.ts'
import { peers, PEER_SIZE } from '../unit/client/helpers/peers.ts'
import { simpleReply } from '../unit/client/helpers/reply-bytes.ts'
import {
  handshake,
  infoBlockSize,
  infoExport,
  optionReply,
  scriptedServer,
  type Peer,
  type Request
} from '../unit/client/helpers/scripted-server.ts'

const { EIO } = constants.errno

for (const [name, { needs, serve }] of Object.entries(peers)) {
  void t.test(`client, writeFile - ${name}`, requires(...needs), async (t) => {
    const disk = await connect(await serve(t))
    t.teardown(() => disk.close())
    t.ok(disk.sendsFiles)
    t.ok(PEER_SIZE > 4 * MiB)
    await writeFromFile(t, disk)
  })
}

void t.test('client, writeFile - ranges that are widened', requires('nbdkit'), async (t) => {
  const policy = ['blocksize-minimum=4096', 'blocksize-preferred=4096', 'blocksize-error-policy=error']
  const { uri } = await Nbdkit.serve(t, ['--filter=blocksize-policy', 'memory', '8M', ...policy])
  const disk = await connect(uri, { unaligned: 'widen' })
  t.teardown(() => disk.close())
  t.notOk(disk.sendsFiles)
  await writeFromFile(t, disk, 1)
})

void t.test('client, writeFile - by several that share a connection', async (t) => {
  const disk = await connect(await peers['mqnbd, memory, Unix socket']!.serve(t))
  t.teardown(() => disk.close())
  const other = NBDDisk.attach(await disk.share())
  t.teardown(() => other.close())
  const bytes = crypto.randomBytes(PEER_SIZE)
  const { fd } = openFile(t, bytes)
  const size = MiB / 4
  const writes = Array.from({ length: PEER_SIZE / size }, (_, i) =>
    (i % 2 === 0 ? disk : other).writeFile(i * size, size, { fd, position: i * size })
  )
  await within('all', Promise.all(writes))
  t.ok((await disk.read(0, PEER_SIZE)).equals(bytes))
})

/** More than any socket holds. */
const LENGTH = 16 * MiB

const large = {
  answers: {
    [NBD_OPT_GO]: [
      optionReply(NBD_OPT_GO, NBD_REP_INFO, infoExport(BigInt(LENGTH))),
      optionReply(NBD_OPT_GO, NBD_REP_INFO, infoBlockSize(1, 4096, LENGTH)),
      optionReply(NBD_OPT_GO, NBD_REP_ACK)
    ]
  }
}

/** Its first client is not read from before `goOn`. */
async function stallingServer(t: Test): Promise<{ uri: string; goOn: () => void; received: Request[][] }> {
  let goOn!: () => void
  const stalled = new Promise<void>((resolve) => (goOn = resolve))
  const received: Request[][] = []
  const serve = async (peer: Peer): Promise<void> => {
    const requests: Request[] = []
    received.push(requests)
    await handshake(peer, large)
    peer.socket.pause()
    await stalled
    peer.socket.resume()
    for (let request = await peer.request(); request; request = await peer.request()) {
      requests.push(request)
      peer.send(simpleReply(request.cookie))
    }
  }
  const { uri } = await scriptedServer(t, serve)
  return { uri, goOn, received }
}

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

void t.test('client, writeFile - a file that becomes shorter on the way ends the connection', async (t) => {
  const { uri, goOn, received } = await stallingServer(t)
  const disk = await connect(uri)
  t.teardown(() => disk.close())
  const { fd, file } = openFile(t, Buffer.alloc(LENGTH, 1))
  const outcomes = [disk.writeFile(0, LENGTH, { fd, position: 0 }), disk.flush()].map(failureOf)
  await nextTurn()
  fs.truncateSync(file, 8 * MiB)
  goOn()
  const [write, flush] = await within('both', Promise.all(outcomes))
  const message = `NBD_CMD_WRITE of ${LENGTH} bytes at 0: the file that is sent has become shorter`
  t.strictSame(write, { kind: 'request', errno: EIO, message })
  t.match(flush, { kind: 'transport', message: /the file that is sent has become shorter/ })
  t.equal(disk.state, 'DEAD')
  t.strictSame(received, [[]], 'the server has got no whole request')
})

void t.test('client, writeFile - what else was in flight then is sent again', async (t) => {
  const { uri, goOn, received } = await stallingServer(t)
  const disk = await connect(uri, { reconnectDelayMs: 60_000 })
  t.teardown(() => disk.close())
  const { fd, file } = openFile(t, Buffer.alloc(LENGTH, 1))
  const write = failureOf(disk.writeFile(0, LENGTH, { fd, position: 0 }))
  const read = disk.write(0, Buffer.alloc(1000))
  await nextTurn()
  fs.truncateSync(file, 0)
  goOn()
  t.match(await within('the write', write), { kind: 'request', errno: EIO })
  await within('the other', read)
  t.equal(received.length, 2)
  t.strictSame(
    received[1]!.map(({ length }) => length),
    [1000]
  )
})

void t.test('client, writeFile - given up on its way, it is sent as it was', async (t) => {
  const { uri, goOn, received } = await stallingServer(t)
  const disk = await connect(uri)
  t.teardown(() => disk.close())
  const bytes = crypto.randomBytes(LENGTH)
  const file = imageOf(t, bytes)
  const fd = fs.openSync(file, 'r')
  const controller = new AbortController()
  const { signal } = controller
  const begun = disk.writeFile(0, LENGTH, { fd, position: 0 }, { signal })
  const behind = disk.writeFile(0, LENGTH, { fd, position: 0 }, { signal })
  await nextTurn()
  controller.abort()
  await t.rejects(begun, { name: 'AbortError' })
  await t.rejects(behind, { name: 'AbortError' })
  // Both are ours again.
  fs.closeSync(fd)
  fs.truncateSync(file, 0)
  goOn()
  await within('flush', disk.flush())
  const [request, ...others] = received[0]!
  t.ok(request!.payload.equals(bytes))
  t.strictSame(
    others.map(({ type }) => type),
    [NBD_CMD_FLUSH],
    'what had not begun is not sent'
  )
})
