import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import t, { type Test } from 'tap'
import { attachNode } from '../../../../../../shared/block/driver-registry.ts'
import { openNode, type BlockNode } from '../../../../../../shared/block/index.ts'
import { descriptorsOf, directImage } from '../../../../../helpers/direct-folder.ts'
import { readAt } from '../../../../../helpers/files.ts'
import { readNode, writeNode } from '../../../../../helpers/raw-node.ts'

const KiB = 1024
const MiB = 1024 * KiB

async function openDirect(filename: string, readOnly = false): Promise<BlockNode> {
  return openNode({ driver: 'file', filename, cache: { direct: true }, 'read-only': readOnly })
}

async function open(t: Test, filename: string): Promise<BlockNode> {
  const node = await openDirect(filename)
  t.teardown(() => node.close())
  return node
}

void t.test('direct - takes anything, and nothing on the spot', async (t) => {
  const image = directImage(t, MiB)
  const node = await open(t, image)
  const isDirect = ({ flags }: { flags: number }): boolean => (flags & fs.constants.O_DIRECT) !== 0
  t.strictSame(descriptorsOf(image).map(isDirect), [true])
  t.equal(node.limits.requestAlignment, 1)
  const bytes = crypto.randomBytes(100_000)
  await writeNode(node, 12_345, bytes)
  const view = attachNode(structuredClone(node.handle()))
  t.ok((await readNode(view, 12_345, bytes.length)).equals(bytes))
  t.ok((await readNode(view, 12_346, 1)).equals(bytes.subarray(1, 2)))
  t.ok(readAt(image, 12_345, bytes.length).equals(bytes))
  t.equal(view.map(0, 4096, { fd: -1, offset: 0, resident: false }), false)
  t.equal(view.preadNowait(0, 0, 4096), false)
  await view.prefetch(0, MiB)
  await view.flush()
})

void t.test('direct - zeroing and discarding reach exactly as far as they should', async (t) => {
  const image = directImage(t, MiB)
  const node = await open(t, image)
  const expected = crypto.randomBytes(MiB)
  await writeNode(node, 0, expected)
  for (const [offset, length] of [
    [1, 1],
    [510, 5],
    [5000, 100_000],
    [200_000, 8192],
    [MiB - 700, 700]
  ] as const) {
    for (const mayUnmap of [true, false])
      await node.pwriteZeroes(offset, length, { mayUnmap, noFallback: false })
    expected.fill(0, offset, offset + length)
    t.ok((await readNode(node, 0, MiB)).equals(expected), `${length} bytes at ${offset}`)
  }
  await node.pdiscard(300_001, 100_000)
  const left = await readNode(node, 0, MiB)
  t.ok(left.fill(0, 300_001, 400_001).equals(expected.fill(0, 300_001, 400_001)))
})

for (const length of [1, 511, 4097, 100_001, MiB + 512]) {
  void t.test(`direct - ${length} bytes stay so many, whatever is written`, async (t) => {
    const image = directImage(t, length)
    const node = await open(t, image)
    t.equal(node.length, length)
    const expected = crypto.randomBytes(length)
    await writeNode(node, 0, expected)
    for (let i = 0; i < 50; i++) {
      const offset = Math.max(0, length - crypto.randomInt(1, 9000))
      const count = crypto.randomInt(1, length - offset + 1)
      if (i % 3 === 0) {
        await node.pwriteZeroes(offset, count, { mayUnmap: i % 2 === 0, noFallback: false })
        expected.fill(0, offset, offset + count)
      } else {
        const bytes = crypto.randomBytes(count)
        await writeNode(node, offset, bytes)
        bytes.copy(expected, offset)
      }
      t.ok((await readNode(node, offset, length - offset)).equals(expected.subarray(offset)))
    }
    await node.flush()
    t.ok(fs.readFileSync(image).equals(expected))
  })
}

void t.test('direct - a file that has become shorter is EIO, not data', async (t) => {
  const image = directImage(t, MiB)
  const node = await open(t, image)
  await writeNode(node, 0, Buffer.alloc(MiB, 1))
  fs.truncateSync(image, 10_000)
  for (const [offset, length] of [
    [16 * KiB, 512],
    [0, MiB],
    [MiB - 1, 1]
  ] as const) {
    await t.rejects(
      readNode(node, offset, length),
      { kind: 'request', message: /beyond the end/ },
      `${length} bytes at ${offset}`
    )
  }
  t.ok((await readNode(node, 0, 8192)).equals(Buffer.alloc(8192, 1)))
})

void t.test('direct - where it cannot be that is said in one line, and nothing is left open', async (t) => {
  const before = fs.readdirSync('/proc/self/fd').length
  // Files of the kernel have no blocks.
  await t.rejects(openDirect('/proc/version', true), {
    kind: 'config',
    message: "cannot open '/proc/version' with cache.direct=on: its file system does not support O_DIRECT"
  })
  for (const length of [MiB, 100_001]) {
    const node = await openDirect(directImage(t, length))
    await node.close()
  }
  t.equal(fs.readdirSync('/proc/self/fd').length, before)
})
