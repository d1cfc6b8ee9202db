import t from 'tap'
import { connect, type NBDDisk } from '../../client/index.ts'
import { KiB } from '../helpers/files.ts'
import {
  NBD_CMD_FLUSH,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE
} from '../helpers/raw-constants.ts'
import { requires } from '../helpers/requires.ts'
import { waitFor, within } from '../helpers/wait-for.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'
import { peers, PEER_SIZE } from '../unit/client/helpers/peers.ts'
import { Nbdkit } from '../unit/client/helpers/nbdkit.ts'
import { chunk, dataPayload, holePayload, pattern, simpleReply } from '../unit/client/helpers/reply-bytes.ts'
import { handshake, scriptedServer, type Request } from '../unit/client/helpers/scripted-server.ts'

/** Reads, and notes how often memory was asked for. */
function readLate(
  disk: NBDDisk,
  offset: number,
  length: number,
  options = {}
): { bytes: Promise<Buffer>; asked: Buffer[] } {
  const asked: Buffer[] = []
  const allocate = (): Buffer => {
    asked.push(Buffer.alloc(length, 0xee))
    return asked.at(-1)!
  }
  return { bytes: disk.readLate(offset, length, allocate, options).then(() => asked[0]!), asked }
}

for (const [name, { needs, serve }] of Object.entries(peers)) {
  void t.test(`client, readLate - ${name}`, requires(...needs), async (t) => {
    const disk = await connect(await serve(t))
    t.teardown(() => disk.close())
    const bytes = pattern(PEER_SIZE)
    await disk.write(0, bytes)
    const lengths = [512, 16 * KiB, 100 * KiB, 2048 * KiB, PEER_SIZE]
    const reads = lengths.map((length) => readLate(disk, PEER_SIZE - length, length))
    for (const [i, { bytes: read, asked }] of reads.entries()) {
      t.ok((await read).equals(bytes.subarray(PEER_SIZE - lengths[i]!)), `${lengths[i]} bytes`)
      t.equal(asked.length, 1, 'also for a call of several requests')
    }
  })
}

void t.test('client, readLate - no memory is asked for before the data come', async (t) => {
  const requests: Request[] = []
  const { uri, peers } = await scriptedServer(t, async (peer) => {
    await handshake(peer)
    for (let request = await peer.request(); request; request = await peer.request()) {
      if (request.type === NBD_CMD_FLUSH) peer.send(simpleReply(request.cookie))
      else requests.push(request)
    }
  })
  const disk = await connect(uri)
  t.teardown(() => disk.close())
  const length = 64 * KiB
  const controller = new AbortController()
  const reads = [0, 1, 2].map(() => readLate(disk, 0, length))
  const aborted = readLate(disk, 0, length, { signal: controller.signal })
  await waitFor('the requests', () => requests.length === 4)
  await disk.flush()
  const counts = (): number[] => [...reads, aborted].map(({ asked }) => asked.length)
  t.strictSame(counts(), [0, 0, 0, 0])

  const [peer] = peers
  const cookies = requests.map(({ cookie }) => cookie)
  const data = pattern(length)
  const whole = dataPayload(0n, data)
  peer!.send(chunk(cookies[1]!, NBD_REPLY_TYPE_OFFSET_DATA, whole))
  t.ok((await within('the second', reads[1]!.bytes)).equals(data))
  t.strictSame(counts(), [0, 1, 0, 0])
  peer!.send(chunk(cookies[2]!, NBD_REPLY_TYPE_OFFSET_HOLE, holePayload(0n, length)))
  t.ok((await within('the hole', reads[2]!.bytes)).equals(Buffer.alloc(length)))

  const half = chunk(cookies[3]!, NBD_REPLY_TYPE_OFFSET_DATA, whole)
  peer!.send(half.subarray(0, length / 2))
  await waitFor('the fourth', () => aborted.asked[0]?.[length / 4] === data[length / 4])
  controller.abort()
  await t.rejects(aborted.bytes, { name: 'AbortError' })
  const kept = Buffer.from(aborted.asked[0]!)
  peer!.send(half.subarray(length / 2), simpleReply(cookies[0]!, 5))
  t.equal((await within('the first', failureOf(reads[0]!.bytes))).kind, 'request')
  t.ok(aborted.asked[0]!.equals(kept), 'not touched after it was given up')
  t.strictSame(counts(), [0, 1, 1, 1], 'a read that fails needs none')
})

void t.test('client, readLate - ranges that are widened', requires('nbdkit'), async (t) => {
  const policy = ['blocksize-minimum=4096', 'blocksize-preferred=4096', 'blocksize-error-policy=error']
  const { uri } = await Nbdkit.serve(t, ['--filter=blocksize-policy', 'pattern', '8M', ...policy])
  const disk = await connect(uri, { unaligned: 'widen' })
  t.teardown(() => disk.close())
  const bytes = await readLate(disk, 1000, 100_000).bytes
  t.ok(bytes.equals(await disk.read(1000, 100_000)))
})
