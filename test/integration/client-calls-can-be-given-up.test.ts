import { constants } from 'node:os'
import t, { type Test } from 'tap'
import { connect } from '../../client/index.ts'
import { KiB, MiB } from '../helpers/files.ts'
import { NBD_CMD_FLUSH, NBD_CMD_READ, NBD_CMD_WRITE } from '../helpers/raw-constants.ts'
import { requires } from '../helpers/requires.ts'
import { waitFor, within } from '../helpers/wait-for.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'
import { Nbdkit } from '../unit/client/helpers/nbdkit.ts'
import { chunk, dataPayload, pattern, simpleReply } from '../unit/client/helpers/reply-bytes.ts'
import { handshake, scriptedServer, type Peer, type Request } from '../unit/client/helpers/scripted-server.ts'

const { EINVAL, ETIMEDOUT } = constants.errno
const OFFSET_DATA = 1

/** Answers FLUSH at once, and nothing else by itself. */
async function slowServer(t: Test): Promise<{ uri: string; requests: Request[]; peers: Peer[] }> {
  const requests: Request[] = []
  const { uri, peers } = await scriptedServer(t, async (peer) => {
    await handshake(peer)
    for (let request = await peer.request(); request; request = await peer.request()) {
      requests.push(request)
      if (request.type === NBD_CMD_FLUSH) peer.send(simpleReply(request.cookie))
    }
  })
  return { uri, requests, peers }
}

const readReply = ({ cookie, offset, length }: Request): Buffer =>
  chunk(cookie, OFFSET_DATA, dataPayload(offset, pattern(length, Number(offset))))

void t.test('client - an aborted read fails at once, and its late reply goes nowhere', async (t) => {
  for (const length of [100, 64 * KiB]) {
    const { uri, requests, peers } = await slowServer(t)
    const disk = await connect(uri)
    t.teardown(() => disk.close())
    const controller = new AbortController()
    const buffer = Buffer.alloc(length, 0xee)
    const read = disk.read(512, buffer, { signal: controller.signal })
    const other = disk.read(0, length)
    await waitFor('the requests', () => requests.length === 2)
    const why = new Error('not needed any more')
    controller.abort(why)
    await t.rejects(read, why, 'with the reason of the signal')
    t.ok(buffer.every((byte) => byte === 0xee))
    peers[0]!.send(readReply(requests[0]!), readReply(requests[1]!))
    t.ok((await within('the other read', other)).equals(pattern(length)))
    t.ok(buffer.every((byte) => byte === 0xee))
    await disk.flush()
    t.equal(disk.state, 'READY')
  }
})

void t.test('client - a read that is aborted while its data come is touched no more', async (t) => {
  const { uri, requests, peers } = await slowServer(t)
  const disk = await connect(uri)
  t.teardown(() => disk.close())
  const buffers = [Buffer.alloc(1000, 0xee), Buffer.alloc(63 * KiB, 0xee)]
  const controller = new AbortController()
  const length = buffers[0]!.length + buffers[1]!.length
  const read = disk.readv(0, buffers, { signal: controller.signal })
  await waitFor('the request', () => requests.length === 1)
  const reply = readReply(requests[0]!)
  peers[0]!.send(reply.subarray(0, 30_000))
  await waitFor('some of the data', () => Buffer.concat(buffers)[29_000] !== 0xee)
  controller.abort()
  await t.rejects(read, { name: 'AbortError' })
  const kept = Buffer.concat(buffers)
  peers[0]!.send(reply.subarray(30_000))
  await disk.flush()
  t.ok(Buffer.concat(buffers).equals(kept))

  const again = disk.readv(0, buffers)
  await waitFor('the request', () => requests.length === 3)
  peers[0]!.send(readReply(requests[2]!))
  await within('the next read', again)
  t.ok(Buffer.concat(buffers).equals(pattern(length)))
})

void t.test('client - a call takes no longer than it may', async (t) => {
  const { uri, requests } = await slowServer(t)
  const disk = await connect(uri)
  const failure = await failureOf(disk.read(4096, 512, { timeoutMs: 20 }))
  t.strictSame(failure, {
    kind: 'request',
    errno: ETIMEDOUT,
    message: 'NBD_CMD_READ of 512 bytes at 4096: no reply within 20 ms'
  })
  t.equal((await failureOf(disk.blockStatus(0, 512, { timeoutMs: 20 }).next())).errno, ETIMEDOUT)
  t.equal(requests.length, 2)
  await disk.flush({ timeoutMs: 60_000 })
  await within('close: nobody waits for the replies', disk.close())
})

void t.test('client - a time limit for all calls, and another for one', async (t) => {
  const { uri } = await slowServer(t)
  const disk = await connect(uri, { timeoutMs: 20 })
  t.match(await failureOf(disk.read(0, 512)), { errno: ETIMEDOUT, message: /within 20 ms/ })
  t.match(await failureOf(disk.write(0, Buffer.alloc(512), { timeoutMs: 30 })), { message: /within 30 ms/ })
  t.equal((await failureOf(disk.read(0, 512, { timeoutMs: -1 }))).errno, EINVAL)
  await disk.close()
  t.equal((await failureOf(connect(uri, { timeoutMs: 0.5 }))).errno, EINVAL)
})

void t.test('client - what is aborted before is never sent', async (t) => {
  const { uri, requests } = await slowServer(t)
  const disk = await connect(uri)
  t.teardown(() => disk.close())
  const signal = AbortSignal.abort()
  await t.rejects(disk.read(0, 512, { signal }), { name: 'AbortError' })
  await t.rejects(disk.write(0, Buffer.alloc(1), { signal }), { name: 'AbortError' })
  await t.rejects(disk.flush({ signal }), { name: 'AbortError' })
  const controller = new AbortController()
  const zero = disk.read(0, 512, { signal: controller.signal })
  controller.abort()
  await t.rejects(zero, { name: 'AbortError' })
  await disk.flush()
  t.strictSame(
    requests.map(({ type }) => type),
    [NBD_CMD_FLUSH]
  )
})

void t.test('client - what waits for room is withdrawn; what has begun is sent as it was', async (t) => {
  let goOn: () => void = () => undefined
  const ready = new Promise<void>((resolve) => (goOn = resolve))
  const received: Request[] = []
  const { uri } = await scriptedServer(t, async (peer) => {
    await handshake(peer)
    peer.socket.pause()
    await ready
    peer.socket.resume()
    for (let request = await peer.request(); request; request = await peer.request()) {
      received.push(request)
      peer.send(simpleReply(request.cookie))
    }
  })
  const disk = await connect(uri)
  t.teardown(() => disk.close())
  const size = 64 * KiB
  const controller = new AbortController()
  const { signal } = controller
  const count = 400
  const payloads = Array.from({ length: count }, (_, i) => Buffer.alloc(i % 3 === 0 ? 5000 : size, i + 1))
  const aborted = payloads.map((data, i) => disk.write((i % 15) * size, data, { signal }))
  // Far more than a socket holds.
  await new Promise((resolve) => setImmediate(resolve))
  const kept = [disk.write(0, Buffer.alloc(100, 0xaa)), disk.write(0, Buffer.alloc(size, 0xbb))]
  controller.abort()
  const outcomes = await within('all', Promise.allSettled(aborted))
  t.ok(outcomes.every(({ status }) => status === 'rejected'))
  for (const payload of payloads) payload.fill(0)
  goOn()
  await within('the others', Promise.all(kept))
  await disk.flush()
  const writes = received.filter(({ type }) => type === NBD_CMD_WRITE)
  const [sent, rest] = [writes.slice(0, -2), writes.slice(-2)]
  t.ok(sent.length > 0 && sent.length < count, `${sent.length} of ${count} were sent`)
  const wrong = sent.filter(
    ({ offset, payload }, i) =>
      offset !== BigInt((i % 15) * size) || !payload.every((byte) => byte === (i + 1) % 256)
  )
  t.equal(wrong.length, 0, 'in order, and whole')
  t.strictSame(
    rest.map(({ payload }) => [payload.length, payload[0]]),
    [
      [100, 0xaa],
      [size, 0xbb]
    ]
  )
})

void t.test('client - an abort stops the parts of a long call', async (t) => {
  const { uri, requests } = await slowServer(t)
  const disk = await connect(uri)
  t.teardown(() => disk.close())
  const controller = new AbortController()
  const read = disk.read(0, MiB, { signal: controller.signal })
  await waitFor('some requests', () => requests.length === 8)
  controller.abort()
  await t.rejects(read, { name: 'AbortError' })
  await disk.flush()
  t.equal(requests.filter(({ type }) => type === NBD_CMD_READ).length, 8, 'of 16')
})

void t.test('client - hundreds of calls may share a signal', requires('nbdkit'), async (t) => {
  const { uri } = await Nbdkit.serve(t, ['--filter=delay', 'pattern', '16M', 'rdelay=2ms'])
  const disk = await connect(uri)
  t.teardown(() => disk.close())
  const warnings: string[] = []
  const warn = (warning: Error): void => void warnings.push(warning.message)
  process.on('warning', warn)
  t.teardown(() => process.off('warning', warn))
  const controller = new AbortController()
  const { signal } = controller
  let done = 0
  const reads = Array.from({ length: 1000 }, (_, i) =>
    disk.read(i * 8192, 8192, { signal, timeoutMs: 60_000 }).then((data) => {
      done++
      if (done === 100) controller.abort()
      return Number(data.readBigUInt64BE(8)) === i * 8192 + 8
    })
  )
  const outcomes = await within('all', Promise.allSettled(reads))
  const fulfilled = outcomes.filter((outcome) => outcome.status === 'fulfilled')
  t.ok(fulfilled.length >= 100 && fulfilled.length < 1000, `${fulfilled.length} of 1000`)
  t.ok(fulfilled.every(({ value }) => value))
  for (let i = 0; i < 50; i++) t.equal(Number((await disk.read(i * 4096, 8)).readBigUInt64BE(0)), i * 4096)
  t.strictSame(warnings, [])
})
