import { constants } from 'node:os'
import t, { type Test } from 'tap'
import { connect, type NBDDisk } from '../../client/index.ts'
import { KiB } from '../helpers/files.ts'
import {
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_FLAG_HAS_FLAGS,
  NBD_FLAG_SEND_TRIM
} from '../helpers/raw-constants.ts'
import { requires } from '../helpers/requires.ts'
import { waitFor, within } from '../helpers/wait-for.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'
import { go } from '../unit/client/helpers/handshakes.ts'
import { Nbdkit } from '../unit/client/helpers/nbdkit.ts'
import { chunk, dataPayload, simpleReply } from '../unit/client/helpers/reply-bytes.ts'
import {
  handshake,
  infoBlockSize,
  infoExport,
  scriptedServer,
  type Peer,
  type Request
} from '../unit/client/helpers/scripted-server.ts'

const { EINVAL, EPERM } = constants.errno
const BLOCK = 512
const SIZE = 256 * KiB
const OFFSET_DATA = 1

/** Refuses what is not of whole blocks. */
const nbdkitOfBlocks = (t: Test, options: string[] = [], parameters: string[] = []): Promise<Nbdkit> =>
  Nbdkit.serve(t, [
    '--filter=blocksize-policy',
    ...options,
    'memory',
    `${SIZE}`,
    `blocksize-minimum=${BLOCK}`,
    'blocksize-preferred=4096',
    'blocksize-maximum=8K',
    'blocksize-error-policy=error',
    ...parameters
  ])

const generator = (seed: number): ((below: number) => number) => {
  let state = seed
  return (below) => (state = (state * 48271) % 2147483647) % below
}

void t.test(
  'client - unaligned calls are refused unless they are to be widened',
  requires('nbdkit'),
  async (t) => {
    const { uri } = await nbdkitOfBlocks(t)
    const disk = await connect(uri)
    t.teardown(() => disk.close())
    t.match(await failureOf(disk.read(1, 512)), { errno: EINVAL, message: /minimum block size, 512/ })
    t.equal((await failureOf(disk.write(0, Buffer.alloc(100)))).errno, EINVAL)
  }
)

void t.test(
  'client - unaligned calls beside each other do what aligned ones would',
  requires('nbdkit'),
  async (t) => {
    const { uri } = await nbdkitOfBlocks(t, ['--filter=delay'], ['rdelay=1ms', 'wdelay=1ms'])
    const disk = await connect(uri, { unaligned: 'widen' })
    t.teardown(() => disk.close())
    const shadow = Buffer.alloc(SIZE)
    // Each has its own bytes, but shares blocks with its neighbours.
    const bounds = [0, 100, 511, 512, 700, 1500, 1501, 3000, 20_000, 20_001, 50_001, 50_300]
    const work = async (i: number): Promise<string[]> => {
      const [low, high] = [bounds[i]!, bounds[i + 1]!]
      const random = generator(i + 1)
      const wrong: string[] = []
      for (let round = 0; round < 12; round++) {
        const offset = low + random(high - low)
        const length = 1 + random(high - offset)
        if (random(3) === 0) {
          await disk.zero(offset, length)
          shadow.fill(0, offset, offset + length)
        } else {
          shadow.fill(1 + random(255), offset, offset + length)
          await disk.write(offset, shadow.subarray(offset, offset + length), { fua: random(2) === 0 })
        }
        const into = random(2) === 0 ? length : new Uint8Array(length)
        const read = typeof into === 'number' ? await disk.read(offset, into) : await disk.read(offset, into)
        if (!shadow.subarray(offset, offset + length).equals(read)) wrong.push(`${length} bytes at ${offset}`)
      }
      return wrong
    }
    const wrong = await Promise.all(bounds.slice(0, -1).map((_, i) => work(i)))
    t.strictSame(wrong.flat(), [])
    t.ok((await disk.read(0, SIZE)).equals(shadow))
    const pieces = [Buffer.alloc(3), Buffer.alloc(40_000), Buffer.alloc(1)]
    await disk.readv(99, pieces)
    t.ok(Buffer.concat(pieces).equals(shadow.subarray(99, 99 + 40_004)))
  }
)

void t.test('client - trimming leaves alone what it covers in part', requires('nbdkit'), async (t) => {
  const { uri } = await nbdkitOfBlocks(t)
  const disk = await connect(uri, { unaligned: 'widen' })
  t.teardown(() => disk.close())
  await disk.write(0, Buffer.alloc(4 * BLOCK, 7))
  await disk.trim(1, BLOCK - 1)
  await disk.trim(100, 2 * BLOCK - 200)
  t.ok((await disk.read(0, 4 * BLOCK)).every((byte) => byte === 7))
  // nbdkit's memory reads as zeroes where it was trimmed.
  await disk.trim(1, 3 * BLOCK)
  const expected = Buffer.alloc(4 * BLOCK, 7)
  expected.fill(0, BLOCK, 3 * BLOCK)
  t.ok((await disk.read(0, 4 * BLOCK)).equals(expected))
  await disk.cache(5, 1000)
  const extents: number[][] = []
  for await (const { offset, length } of disk.blockStatus(3, 100_000)) extents.push([offset, length])
  t.equal(extents[0]![0], 3)
  t.equal(
    extents.reduce((end, [offset, length]) => (offset === end ? end + length! : NaN), 3),
    100_003
  )
  await disk.write(7, Buffer.alloc(0))
  t.equal((await failureOf(disk.read(SIZE - 1, 2))).errno, EINVAL, 'beyond the end')
  t.equal((await failureOf(disk.write(NaN, Buffer.alloc(2)))).errno, EINVAL)
})

/** 1 MiB in blocks of 512; answers a READ with `of`, nothing else by itself. */
async function server(t: Test, of: number): Promise<{ disk: NBDDisk; requests: Request[]; peers: Peer[] }> {
  const requests: Request[] = []
  const flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_TRIM
  const answers = go(infoExport(1n << 20n, flags), infoBlockSize(BLOCK, 4096, 65536))
  const { uri, peers } = await scriptedServer(t, async (peer) => {
    await handshake(peer, { answers })
    for (let request = await peer.request(); request; request = await peer.request()) {
      requests.push(request)
      if (request.type !== NBD_CMD_READ) continue
      const { cookie, offset, length } = request
      peer.send(chunk(cookie, OFFSET_DATA, dataPayload(offset, Buffer.alloc(length, of))))
    }
  })
  const disk = await connect(uri, { unaligned: 'widen' })
  t.teardown(async () => {
    for (const { socket } of peers) socket.destroy()
    await disk.close()
  })
  return { disk, requests, peers }
}

const typesOf = (requests: Request[]): number[] => requests.map(({ type }) => type)

void t.test(
  'client - a block that is being written back stays locked, also when that is given up',
  async (t) => {
    const { disk, requests, peers } = await server(t, 1)
    const controller = new AbortController()
    const first = disk.write(10, Buffer.alloc(10, 2), { signal: controller.signal })
    await waitFor('the write', () => requests.length === 2)
    const second = disk.write(100, Buffer.alloc(10, 3))
    const other = disk.write(BLOCK, Buffer.alloc(BLOCK, 4))
    await waitFor('a write of another block', () => requests.length === 3)
    controller.abort()
    await t.rejects(first, { name: 'AbortError' })
    peers[0]!.send(simpleReply(requests[2]!.cookie))
    await within('the other write', other)
    t.strictSame(typesOf(requests), [NBD_CMD_READ, NBD_CMD_WRITE, NBD_CMD_WRITE], 'the second one waits')

    peers[0]!.send(simpleReply(requests[1]!.cookie))
    await waitFor('the second write', () => requests.length === 5)
    peers[0]!.send(simpleReply(requests[4]!.cookie))
    await within('the second write', second)
    t.strictSame(typesOf(requests.slice(3)), [NBD_CMD_READ, NBD_CMD_WRITE])
  }
)

void t.test('client - who waits for a block may give up, too', async (t) => {
  const { disk, requests } = await server(t, 1)
  const first = failureOf(disk.write(10, Buffer.alloc(10, 2)))
  await waitFor('the write', () => requests.length === 2)
  const late = await failureOf(disk.write(100, Buffer.alloc(10, 3), { timeoutMs: 20 }))
  t.equal(late.errno, constants.errno.ETIMEDOUT)
  t.equal(requests.length, 2)
  await disk.trim(1, 700)
  t.equal(requests.length, 2, 'there is nothing to trim')
  const trimmed = failureOf(disk.trim(BLOCK - 1, BLOCK + 1))
  await waitFor('the trim', () => requests.length === 3)
  t.match(requests[2], { type: NBD_CMD_TRIM, offset: BigInt(BLOCK), length: BLOCK })
  void Promise.all([first, trimmed])
})

void t.test('client - a widened call needs what an aligned one needs', requires('nbdkit'), async (t) => {
  const { uri } = await nbdkitOfBlocks(t, ['-r'])
  const disk = await connect(uri, { unaligned: 'widen' })
  t.teardown(() => disk.close())
  t.equal((await failureOf(disk.write(1, Buffer.alloc(1)))).errno, EPERM)
  t.equal((await failureOf(disk.zero(1, 1))).errno, EPERM)
  t.equal((await failureOf(disk.trim(1, 1))).errno, EPERM)
})
