import * as fs from 'node:fs'
import { constants } from 'node:os'
import t, { type Test } from 'tap'
import { connect, type NBDExtent } from '../../client/index.ts'
import { emptyImage, KiB, MiB } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { QemuNbd } from '../helpers/qemu-nbd.ts'
import { NBD_REPLY_TYPE_BLOCK_STATUS } from '../helpers/raw-constants.ts'
import { requires } from '../helpers/requires.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'
import { Nbdkit } from '../unit/client/helpers/nbdkit.ts'
import { chunk, statusPayload } from '../unit/client/helpers/reply-bytes.ts'
import { ALLOCATION_ID, handshake, scriptedServer } from '../unit/client/helpers/scripted-server.ts'

const HOLE_ZERO = 3
const SIZE = 96 * MiB

/** An image with 4 KiB of data at the start of each 16 KiB of its first 80 MiB: more extents than one reply holds. */
function sparseImage(t: Test): string {
  const file = emptyImage(t, SIZE)
  const fd = fs.openSync(file, 'r+')
  const data = Buffer.alloc(4 * KiB, 1)
  for (let at = 0; at < 80 * MiB; at += 16 * KiB) fs.writeSync(fd, data, 0, data.length, at)
  fs.closeSync(fd)
  return file
}

const collect = async (extents: AsyncIterable<NBDExtent>): Promise<NBDExtent[]> => {
  const all: NBDExtent[] = []
  for await (const extent of extents) all.push(extent)
  return all
}

/** What is wrong with extents that should cover a range without gap and without seams. */
function flaws(extents: NBDExtent[], offset: number, length: number): string[] {
  const wrong: string[] = []
  let at = offset
  extents.forEach((extent, i) => {
    if (extent.offset !== at || extent.length <= 0) wrong.push(`${JSON.stringify(extent)} at ${at}`)
    if (i > 0 && extents[i - 1]!.flags === extent.flags) wrong.push(`a seam at ${at}`)
    at += extent.length
  })
  if (at !== offset + length) wrong.push(`ends at ${at}`)
  return wrong
}

const servers: Record<string, { needs: string[]; serve: (t: Test) => Promise<string> }> = {
  mqnbd: { needs: [], serve: async (t) => (await Mqnbd.serve(t, [sparseImage(t), '-f', 'raw', '-r'])).uri },
  'qemu-nbd': {
    needs: ['qemu-nbd', 'nbdinfo'],
    serve: async (t) => (await QemuNbd.serve(t, ['-f', 'raw', '-r', sparseImage(t)])).uri
  },
  nbdkit: {
    needs: ['nbdkit'],
    serve: async (t) => (await Nbdkit.serve(t, ['-r', 'file', sparseImage(t)])).uri
  }
}

for (const [name, { needs, serve }] of Object.entries(servers)) {
  void t.test(`client - finds the holes of an image: ${name}`, requires(...needs), async (t) => {
    const disk = await connect(await serve(t))
    t.teardown(() => disk.close())
    t.equal(disk.flags.canBlockStatus, true)
    const extents = await collect(disk.blockStatus())
    t.strictSame(flaws(extents, 0, SIZE), [])
    t.equal(extents.length, 2 * 80 * 64)
    const wrong = extents.filter(({ offset, length, flags }, i) => {
      const isData = i % 2 === 0
      const expected = isData ? 4 * KiB : i === extents.length - 1 ? 16 * MiB + 12 * KiB : 12 * KiB
      return (
        offset % (16 * KiB) !== (isData ? 0 : 4 * KiB) ||
        length !== expected ||
        flags !== (isData ? 0 : HOLE_ZERO)
      )
    })
    t.strictSame(wrong, [])

    const middle = await collect(disk.blockStatus(6 * KiB, 20 * KiB))
    t.strictSame(middle, [
      { offset: 6 * KiB, length: 10 * KiB, flags: HOLE_ZERO },
      { offset: 16 * KiB, length: 4 * KiB, flags: 0 },
      { offset: 20 * KiB, length: 6 * KiB, flags: HOLE_ZERO }
    ])
    t.strictSame(flaws(await collect(disk.blockStatus(90 * MiB)), 90 * MiB, 6 * MiB), [])
  })
}

void t.test('client - asks for no more than it is iterated over', async (t) => {
  const disk = await connect((await Mqnbd.serve(t, [sparseImage(t), '-f', 'raw', '-r'])).uri)
  for await (const extent of disk.blockStatus()) {
    t.strictSame(extent, { offset: 0, length: 4 * KiB, flags: 0 })
    break
  }
  await disk.close()
})

void t.test('client - an export of terabytes takes as many requests as it needs', async (t) => {
  const disk = await connect((await Mqnbd.serve(t, ['memory:5T'])).uri)
  t.teardown(() => disk.close())
  const size = 5 * 2 ** 40
  await disk.write(3 * 2 ** 40, Buffer.alloc(4 * KiB, 1))
  const extents = await collect(disk.blockStatus())
  t.strictSame(flaws(extents, 0, size), [])
  t.strictSame(
    extents.map(({ offset, flags }) => [offset, flags]),
    [
      [0, HOLE_ZERO],
      [3 * 2 ** 40, 0],
      [3 * 2 ** 40 + 4 * KiB, HOLE_ZERO]
    ]
  )
})

void t.test(
  'client - joins extents that a server splits, ignores unknown flags and what lies behind',
  async (t) => {
    const answers = [
      [100, 0, 28, 0xfffc],
      [512 - 128 - 1, 3],
      [1, 0x103, 4096, 0, 1, 3],
      [0xffffffff, 1]
    ]
    const { uri } = await scriptedServer(t, async (peer) => {
      await handshake(peer)
      for (const answer of answers) {
        const request = await peer.request()
        if (!request) return
        peer.send(chunk(request.cookie, NBD_REPLY_TYPE_BLOCK_STATUS, statusPayload(ALLOCATION_ID, ...answer)))
      }
    })
    const disk = await connect(uri)
    t.strictSame(await collect(disk.blockStatus(1000, 512)), [
      { offset: 1000, length: 128, flags: 0 },
      { offset: 1128, length: 384, flags: 3 }
    ])
    t.strictSame(await collect(disk.blockStatus(5, 7)), [{ offset: 5, length: 7, flags: 1 }])
    await disk.close()
  }
)

void t.test('client - says when the server cannot tell', requires('nbdkit'), async (t) => {
  const disk = await connect((await Nbdkit.serve(t, ['--no-sr', 'memory', '1M'])).uri)
  t.teardown(() => disk.close())
  t.equal(disk.flags.canBlockStatus, false)
  const { kind, errno, message } = await failureOf(collect(disk.blockStatus()))
  t.strictSame([kind, errno], ['request', constants.errno.ENOTSUP])
  t.match(message, /does not offer base:allocation/)
})
