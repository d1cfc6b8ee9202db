import t from 'tap'
import { connect, type NBDDisk } from '../../client/index.ts'
import { requires } from '../helpers/requires.ts'
import { peers, PEER_SIZE } from '../unit/client/helpers/peers.ts'

const BLOCK = 512

/** Repeatable. */
function generator(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state * 48271) % 2147483647
    return state % below
  }
}

/** Writes, zeroes and trims areas of the disk's own, and reads them back; each at its own pace. */
async function work(disk: NBDDisk, shadow: Buffer, area: number, areaSize: number): Promise<string[]> {
  const random = generator(area + 1)
  const wrong: string[] = []
  const { canZero, canTrim } = disk.flags
  for (let round = 0; round < 15; round++) {
    const offset = area * areaSize + BLOCK * random(areaSize / BLOCK)
    const length = BLOCK * (1 + random(((area + 1) * areaSize - offset) / BLOCK))
    const action = random(4)
    if (action === 0 && canZero) {
      await disk.zero(offset, length)
      shadow.fill(0, offset, offset + length)
    } else if (action === 1 && canTrim) {
      // What a trimmed range reads as is not defined: define it.
      await disk.trim(offset, length)
      await disk.write(offset, shadow.subarray(offset, offset + length))
    } else {
      shadow.fill(1 + random(255), offset, offset + length)
      shadow.writeUInt32LE(offset, offset)
      await disk.write(offset, shadow.subarray(offset, offset + length))
    }
    const read = await disk.read(offset, length)
    if (!read.equals(shadow.subarray(offset, offset + length))) wrong.push(`${length} bytes at ${offset}`)
  }
  return wrong
}

for (const [name, { needs, serve }] of Object.entries(peers)) {
  void t.test(`client - reads what was written: ${name}`, requires(...needs), async (t) => {
    const uri = await serve(t)
    const disk = await connect(uri)
    t.teardown(() => disk.close())
    t.equal(disk.size, PEER_SIZE)
    const shadow = Buffer.alloc(PEER_SIZE)

    const areas = 16
    const wrong = await Promise.all(
      Array.from({ length: areas }, (_, area) => work(disk, shadow, area, PEER_SIZE / areas))
    )
    t.strictSame(wrong.flat(), [], 'what each read is what it has written')
    t.ok((await disk.read(0, PEER_SIZE)).equals(shadow), 'all at once')

    const into = new Uint8Array(PEER_SIZE + 2).subarray(1, -1)
    t.equal(await disk.read(0, into), into, 'gives the buffer back that it was given')
    t.ok(shadow.equals(into), 'the same bytes in a buffer of the caller')

    const sizes = [BLOCK, 4096, 15 * 1024, 16 * 1024, 17 * 1024, 100 * 1024, 1024 * 1024]
    const reads = sizes.flatMap((size) => [
      { size, offset: 0 },
      { size, offset: PEER_SIZE - size }
    ])
    const results = await Promise.all(reads.map(({ size, offset }) => disk.read(offset, size)))
    const bad = reads.filter(
      ({ size, offset }, i) => !results[i]!.equals(shadow.subarray(offset, offset + size))
    )
    t.strictSame(bad, [], 'every size at both ends')

    if (disk.flags.canFlush) await disk.flush()
    if (disk.flags.canCache) await disk.cache(0, PEER_SIZE)
    if (disk.flags.canFua) await disk.write(0, shadow.subarray(0, 4096), { fua: true })
    await disk.close()
    t.equal(disk.state, 'CLOSED')

    const again = await connect(uri)
    t.teardown(() => again.close())
    t.ok((await again.read(0, PEER_SIZE)).equals(shadow), 'another connection sees the same')
    await again.close()
  })
}
