import t, { type Test } from 'tap'
import { connect, type NBDDisk } from '../../client/index.ts'
import { KiB, MiB } from '../helpers/files.ts'
import { openDescriptors } from '../helpers/proc.ts'
import { requires } from '../helpers/requires.ts'
import { waitFor, within } from '../helpers/wait-for.ts'
import { NBD_REPLY_TYPE_OFFSET_DATA, NBD_REPLY_TYPE_OFFSET_HOLE } from '../helpers/raw-constants.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'
import { peers, PEER_SIZE } from '../unit/client/helpers/peers.ts'
import { Nbdkit } from '../unit/client/helpers/nbdkit.ts'
import { chunk, dataPayload, holePayload, pattern, simpleReply } from '../unit/client/helpers/reply-bytes.ts'
import { handshake, scriptedServer, type Request } from '../unit/client/helpers/scripted-server.ts'

const pipes = (): number => openDescriptors(process.pid).filter((target) => target.startsWith('pipe:')).length

/** Reads of all lengths that are dropped, and others among them, whose data must be right. */
async function mixed(t: Test, disk: NBDDisk, bytes: Buffer): Promise<void> {
  const lengths = [512, 16 * KiB, 100 * KiB, 2 * MiB, PEER_SIZE]
  const reads = lengths.map(async (length) => {
    const dropped = disk.readAndDrop(PEER_SIZE - length, length)
    const read = await disk.read(PEER_SIZE - length, length)
    await dropped
    return read.equals(bytes.subarray(PEER_SIZE - length))
  })
  t.strictSame(await within('the reads', Promise.all(reads)), [true, true, true, true, true])
}

for (const [name, { needs, serve }] of Object.entries(peers)) {
  void t.test(`client, readAndDrop - ${name}`, requires(...needs), async (t) => {
    const disk = await connect(await serve(t))
    t.teardown(() => disk.close())
    const bytes = pattern(PEER_SIZE)
    await disk.write(0, bytes)
    await mixed(t, disk, bytes)
  })
}

void t.test('client, readAndDrop - what the server refuses fails alone, in the middle, too', async (t) => {
  const requests: Request[] = []
  const { uri, peers } = await scriptedServer(t, async (peer) => {
    await handshake(peer)
    for (let request = await peer.request(); request; request = await peer.request()) requests.push(request)
  })
  const disk = await connect(uri)
  t.teardown(() => disk.close())
  const length = 64 * KiB
  const controller = new AbortController()
  const drop = (signal?: AbortSignal): Promise<void> => disk.readAndDrop(0, length, signal ? { signal } : {})
  const calls = [drop(), drop(), drop(), drop(controller.signal)]
  await waitFor('the requests', () => requests.length === 4)
  const [peer] = peers
  const cookies = requests.map(({ cookie }) => cookie)
  const whole = (cookie: bigint): Buffer =>
    chunk(cookie, NBD_REPLY_TYPE_OFFSET_DATA, dataPayload(0n, pattern(length)))
  const half = whole(cookies[3]!)
  peer!.send(half.subarray(0, length / 2))
  controller.abort()
  await t.rejects(calls[3]!, { name: 'AbortError' })
  peer!.send(half.subarray(length / 2), simpleReply(cookies[0]!, 5), whole(cookies[1]!))
  peer!.send(chunk(cookies[2]!, NBD_REPLY_TYPE_OFFSET_HOLE, holePayload(0n, length)))
  t.equal((await within('the first', failureOf(calls[0]!))).kind, 'request')
  await within('the others', Promise.all([calls[1], calls[2]]))
})

void t.test('client, readAndDrop - a server that ends in the middle', async (t) => {
  const { uri } = await scriptedServer(t, async (peer) => {
    await handshake(peer)
    const request = await peer.request()
    const whole = chunk(request!.cookie, NBD_REPLY_TYPE_OFFSET_DATA, dataPayload(0n, pattern(64 * KiB)))
    peer.send(whole.subarray(0, whole.length - 1))
  })
  const disk = await connect(uri)
  t.teardown(() => disk.close())
  const error = await within('the failure', failureOf(disk.readAndDrop(0, 64 * KiB)))
  t.equal(error.kind, 'transport')
  t.match(error.message, 'in the middle of a reply')
})

void t.test('client, readAndDrop - ranges that are widened', requires('nbdkit'), async (t) => {
  const policy = ['blocksize-minimum=4096', 'blocksize-preferred=4096', 'blocksize-error-policy=error']
  const { uri } = await Nbdkit.serve(t, ['--filter=blocksize-policy', 'pattern', '8M', ...policy])
  const disk = await connect(uri, { unaligned: 'widen' })
  t.teardown(() => disk.close())
  await t.resolves(disk.readAndDrop(1000, 100_000))
})

void t.test('client, readAndDrop - leaves no pipe behind', requires('nbdkit'), async (t) => {
  const { uri } = await Nbdkit.serve(t, ['pattern', '8M'])
  const before = pipes()
  const disk = await connect(uri)
  await disk.readAndDrop(0, 8 * MiB)
  t.equal(pipes(), before + 2)
  await disk.close()
  await waitFor('its end', () => pipes() === before)
})
