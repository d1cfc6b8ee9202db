import * as net from 'node:net'
import t from 'tap'
import { connect, type NBDDisk } from '../../client/index.ts'
import { requires } from '../helpers/requires.ts'
import { within } from '../helpers/wait-for.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'
import { simpleReply } from '../unit/client/helpers/reply-bytes.ts'
import { Nbdkit } from '../unit/client/helpers/nbdkit.ts'
import { handshake, Peer, scriptedServer, SIZE } from '../unit/client/helpers/scripted-server.ts'

const PATTERN_SIZE = 16 << 20

/** nbdkit's pattern: the offset of each 8 bytes. */
const isPattern = (data: Buffer, offset: number): boolean => {
  for (let at = 0; at < data.length; at += 8)
    if (data.readUInt32BE(at) !== 0 || data.readUInt32BE(at + 4) !== offset + at) return false
  return true
}

/** Many reads of all sizes, several at a time. @returns how many were wrong */
async function readAround(disk: NBDDisk, seed: number): Promise<number> {
  let state = seed
  const random = (below: number): number => {
    state = (state * 48271) % 2147483647
    return state % below
  }
  let wrong = 0
  const reader = async (): Promise<void> => {
    for (let i = 0; i < 40; i++) {
      const length = 8 * (1 + random(random(10) === 0 ? 100_000 : 2000))
      const offset = 8 * random((PATTERN_SIZE - length) / 8)
      const into = random(2) === 0 ? length : Buffer.alloc(length)
      if (!isPattern(await disk.read(offset, into as Buffer), offset)) wrong++
    }
  }
  await Promise.all(Array.from({ length: 8 }, reader))
  return wrong
}

void t.test('client - disks of one thread do not mix up their bytes', requires('nbdkit'), async (t) => {
  const servers = [
    await Nbdkit.serve(t, ['pattern', `size=${PATTERN_SIZE}`]),
    await Nbdkit.serve(t, ['--no-sr', 'pattern', `size=${PATTERN_SIZE}`])
  ]
  // Breaks the protocol while bytes of others are under way, and leaves some of its own behind.
  const broken = await scriptedServer(t, async (peer) => {
    await handshake(peer)
    await peer.request()
    peer.send(Buffer.alloc(1000, 0xab))
  })
  const disks = await Promise.all([0, 1, 0, 1].map((i) => connect(servers[i]!.uri)))
  t.teardown(() => Promise.all(disks.map((disk) => disk.close())))
  const breaking = async (): Promise<void> => {
    for (let i = 0; i < 20; i++) {
      const disk = await connect(broken.uri)
      const { kind } = await failureOf(disk.flush())
      if (kind !== 'protocol') t.fail(kind)
      await disk.close()
    }
  }
  const [wrong] = await Promise.all([
    Promise.all(disks.map((disk, i) => readAround(disk, i + 1))),
    breaking()
  ])
  t.strictSame(wrong, [0, 0, 0, 0])
})

void t.test('client - a disk starts clean behind one whose server broke the protocol', async (t) => {
  const broken = await scriptedServer(t, async (peer) => {
    await handshake(peer)
    await peer.request()
    peer.send(Buffer.alloc(1000, 0xab))
  })
  const good = await scriptedServer(t, async (peer) => {
    await handshake(peer)
    const request = await peer.request()
    if (request) peer.send(simpleReply(request.cookie))
    await peer.request()
  })
  // Bytes that nobody takes lie in the memory into which all connections of a thread receive.
  const disk = await connect(broken.uri)
  t.equal((await failureOf(disk.flush())).kind, 'protocol')
  const next = await connect(good.uri)
  await next.flush()
  t.equal(next.state, 'READY')
  await Promise.all([disk.close(), next.close()])
})

void t.test('client - no byte of a greeting is lost, however early it comes', async (t) => {
  const server = net.createServer((socket) => {
    const peer = new Peer(socket)
    t.teardown(() => socket.destroy())
    // In the same turn in which the connection is accepted.
    void handshake(peer).then(() => peer.read(28))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const { port } = server.address() as net.AddressInfo
  const unix = await scriptedServer(t, async (peer) => {
    await handshake(peer)
    await peer.read(28)
  })
  for (const uri of [`nbd://127.0.0.1:${port}`, unix.uri]) {
    const open = async (): Promise<number> => {
      const disk = await connect(uri)
      await disk.close()
      return disk.size
    }
    for (let round = 0; round < 20; round++) {
      const sizes = await within('ten connections', Promise.all(Array.from({ length: 10 }, open)))
      if (sizes.some((size) => size !== Number(SIZE))) t.fail(`round ${round}: ${sizes.join()}`)
    }
    t.pass(uri)
  }
})
