import t from 'tap'
import { connect } from '../../client/index.ts'
import { openSockets } from '../helpers/proc.ts'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE
} from '../helpers/raw-constants.ts'
import { requires } from '../helpers/requires.ts'
import { waitFor, within } from '../helpers/wait-for.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'
import { Nbdkit } from '../unit/client/helpers/nbdkit.ts'
import {
  chunk,
  dataPayload,
  holePayload,
  pattern,
  simpleReply,
  statusPayload
} from '../unit/client/helpers/reply-bytes.ts'
import {
  ALLOCATION_ID,
  handshake,
  scriptedServer,
  type Peer
} from '../unit/client/helpers/scripted-server.ts'

const LENGTH = 40
const data = pattern(LENGTH)

/** Replies to a READ of LENGTH bytes at 0, a FLUSH and a BLOCK_STATUS, with cookies 1, 2, 3. */
const replies = Buffer.concat([
  chunk(1n, NBD_REPLY_TYPE_OFFSET_DATA, dataPayload(0n, data.subarray(0, 30)), { done: false }),
  simpleReply(2n),
  chunk(1n, NBD_REPLY_TYPE_OFFSET_HOLE, holePayload(30n, 10), { done: false }),
  chunk(3n, NBD_REPLY_TYPE_BLOCK_STATUS, statusPayload(ALLOCATION_ID, 512, 0)),
  chunk(1n, NBD_REPLY_TYPE_NONE)
])
const read = Buffer.concat([data.subarray(0, 30), Buffer.alloc(10)])

/** Three requests in that order. */
async function requestsOf(
  uri: string
): Promise<{ outcomes: PromiseSettledResult<unknown>[]; state: string }> {
  const disk = await connect(uri)
  const outcomes = await Promise.allSettled([
    disk.read(0, LENGTH),
    disk.flush(),
    disk.blockStatus(0, 512).next()
  ])
  const { state } = disk
  await disk.close()
  return { outcomes, state }
}

/** Waits for those three. */
async function threeRequests(peer: Peer): Promise<boolean> {
  if (!(await handshake(peer))) return false
  const types: number[] = []
  while (types.length < 3) {
    const request = await peer.request()
    if (!request) return false
    types.push(request.type)
  }
  return types.join() === [NBD_CMD_READ, NBD_CMD_FLUSH, NBD_CMD_BLOCK_STATUS].join()
}

void t.test('client - a connection cut at any byte of the replies fails what is not answered', async (t) => {
  let limit = replies.length
  const { uri } = await scriptedServer(t, async (peer) => {
    if (await threeRequests(peer)) peer.send(replies.subarray(0, limit))
  })
  const all = await requestsOf(uri)
  t.strictSame(
    all.outcomes.map(({ status }) => status),
    ['fulfilled', 'fulfilled', 'fulfilled']
  )
  const wrong: string[] = []
  const succeeded = [0, 0, 0]
  for (limit = 0; limit < replies.length; limit++) {
    const { outcomes, state } = await within(`outcomes at ${limit}`, requestsOf(uri))
    if (state !== 'DEAD') wrong.push(`${limit}: ${state}`)
    outcomes.forEach((outcome, i) => {
      if (outcome.status === 'fulfilled') succeeded[i]!++
      else if (!/^(NBD_CMD_\w+).*: the server closed the connection/.test((outcome.reason as Error).message))
        wrong.push(`${limit}: ${String(outcome.reason)}`)
      if (i === 0 && outcome.status === 'fulfilled' && !read.equals(outcome.value as Buffer))
        wrong.push(`${limit}: wrong data`)
    })
  }
  t.strictSame(wrong, [])
  t.equal(succeeded[0], 0, 'the READ ends with the last byte')
  t.equal(succeeded[1], replies.length - (20 + 8 + 30 + 16))
  t.equal(succeeded[2], 20)
})

void t.test('client - says whether the end came in the middle of a reply', async (t) => {
  for (const [length, text] of [
    [0, /the server closed the connection$/],
    [5, /in the middle of a reply$/],
    [30, /in the middle of a reply$/],
    [20 + 8 + 30, /the server closed the connection$/]
  ] as const) {
    const { uri } = await scriptedServer(t, async (peer) => {
      if (await threeRequests(peer)) peer.send(replies.subarray(0, length))
    })
    const { outcomes } = await requestsOf(uri)
    const outcome = outcomes[0]!
    t.match(outcome.status === 'rejected' && (outcome.reason as Error).message, text)
  }
})

void t.test('client - a server that breaks the protocol is left at once, all learn why', async (t) => {
  const { uri, peers } = await scriptedServer(t, async (peer) => {
    if (!(await threeRequests(peer))) return
    peer.send(simpleReply(2n), simpleReply(99n))
    await peer.read(1)
  })
  const disk = await connect(uri)
  const read = failureOf(disk.read(0, LENGTH))
  const flushed = disk.flush()
  const status = failureOf(disk.blockStatus(0, 512).next())
  const failures = await within('all outcomes', Promise.all([read, status]))
  await flushed
  for (const { kind, message } of failures) {
    t.equal(kind, 'protocol')
    t.match(message, /^NBD_CMD_\w+ of \d+ bytes at 0: a reply with the cookie 0x0{14}63/)
  }
  t.equal(disk.state, 'DEAD')
  const later = await failureOf(disk.flush())
  t.equal(later.kind, 'protocol')
  t.match(later.message, /^NBD_CMD_FLUSH: a reply with the cookie/)
  await waitFor('the server to see it go', () => peers[0]!.socket.readableEnded)
  await disk.close()
})

void t.test('client - a server that is killed fails all in flight', requires('nbdkit'), async (t) => {
  const server = await Nbdkit.serve(t, ['--filter=delay', 'memory', '64M', 'rdelay=60'])
  const disk = await connect(server.uri)
  const sockets = openSockets(process.pid)
  // Far more than the socket holds: some are sent, some wait.
  const writes = Array.from({ length: 8 }, (_, i) => disk.write(i << 20, Buffer.alloc(1 << 20)))
  const reads = Array.from({ length: 50 }, (_, i) => failureOf(disk.read(i * 4096, 4096)))
  await Promise.all(writes)
  await server.process.end('SIGKILL')
  for (const { kind } of await within('all outcomes', Promise.all(reads))) t.equal(kind, 'transport')
  t.equal(disk.state, 'DEAD')
  t.equal((await failureOf(disk.write(0, Buffer.alloc(1)))).kind, 'transport')
  await disk.close()
  t.equal(disk.state, 'DEAD', 'close ends it without an error')
  await waitFor('the descriptor to be closed', () => openSockets(process.pid) < sockets)
})

void t.test('client - close ends when the server dies meanwhile', requires('nbdkit'), async (t) => {
  const server = await Nbdkit.serve(t, ['--filter=delay', 'memory', '64M', 'rdelay=60'])
  const disk = await connect(server.uri)
  const read = failureOf(disk.read(0, 4096))
  let closed = false
  const closing = disk.close().then(() => (closed = true))
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(closed, false, 'it waits for the reply')
  await server.process.end('SIGKILL')
  await within('close', closing)
  t.equal((await read).kind, 'transport')
  t.equal(disk.state, 'CLOSED')
})

void t.test('client - a server that stops reading gets no more than fits, and may go on', async (t) => {
  const bytes = 24 << 20
  let goOn: () => void = () => undefined
  const ready = new Promise<void>((resolve) => (goOn = resolve))
  let received = 0
  const { uri } = await scriptedServer(t, async (peer) => {
    await handshake(peer)
    peer.socket.pause()
    await ready
    peer.socket.resume()
    for (let request = await peer.request(); request; request = await peer.request()) {
      received += request.payload.length
      peer.send(simpleReply(request.cookie))
    }
  })
  const disk = await connect(uri)
  const written = Promise.all(
    Array.from({ length: bytes >> 18 }, (_, i) => {
      const size = i % 2 === 0 ? 1 << 18 : 1 << 12
      return disk.write((i << 12) % (1 << 19), Buffer.alloc(size, i)).then(() => size)
    })
  )
  // What is called while the socket is full queues up behind.
  await new Promise((resolve) => setImmediate(resolve))
  const flushed = disk.flush()
  goOn()
  const sizes = await within('all writes', written)
  await flushed
  t.equal(
    received,
    sizes.reduce((sum, size) => sum + size, 0)
  )
  await disk.close()
})
