import * as fs from 'node:fs'
import t, { type Test } from 'tap'
import { openImage, openNode, type BlockNode } from '../../../../../../shared/block/index.ts'
import { attachNode } from '../../../../../../shared/block/driver-registry.ts'
import type { MemoryOptions } from '../../../../../../shared/block/drivers/memory/driver.ts'
import { Memory } from '../../../../../../shared/syscall/memory.ts'
import { descriptorOf, readNode, writeNode } from '../../../../../helpers/raw-node.ts'

const MiB = 1024 * 1024
const HOLE = 3

async function open(t: Test, size: number): Promise<BlockNode> {
  const options: MemoryOptions = { driver: 'memory', size }
  const node = await openNode(options)
  t.teardown(() => node.close())
  return node
}

const allocated = (node: BlockNode): number => fs.fstatSync(descriptorOf(node)).blocks * 512

void t.test('memory - begins as zeroes that take no space, whatever its size', async (t) => {
  for (const size of [0, 1, MiB, 2 ** 40, 2 ** 53 - 1]) {
    const node = await open(t, size)
    t.equal(node.length, size)
    t.equal(node.readOnly, false)
    if (size > 0) {
      t.ok((await readNode(node, size - 1, 1)).equals(Buffer.alloc(1)))
      t.strictSame(await node.blockStatus(0, size, 10), [{ length: size, flags: HOLE }])
      t.equal(allocated(node), 0)
    }
  }
})

void t.test('memory - takes space for what is written, and gives it back', async (t) => {
  const node = await open(t, 64 * MiB)
  await writeNode(node, 8 * MiB, Buffer.alloc(MiB, 1))
  t.ok(allocated(node) >= MiB && allocated(node) <= 4 * MiB, `${allocated(node)} bytes`)
  t.strictSame(await node.blockStatus(8 * MiB, MiB, 1), [{ length: MiB, flags: 0 }])
  await node.pdiscard(8 * MiB, MiB)
  t.equal(allocated(node), 0)
  await node.pwriteZeroes(0, MiB, { mayUnmap: false, noFallback: false })
  t.ok(allocated(node) >= MiB, 'zeroes that must not unmap')
  await node.pwriteZeroes(0, MiB, { mayUnmap: true, noFallback: false })
  t.equal(allocated(node), 0, 'zeroes that may')
})

void t.test('memory - never has to wait, and is shared by its views', async (t) => {
  const node = await open(t, MiB)
  const view = attachNode(structuredClone(node.handle()))
  const memory = Memory.allocate(4096)
  memory.buffer.write('hello')
  t.equal(node.pwriteNowait(memory.address, MiB - 5, 5), true)
  memory.buffer.fill(0)
  t.equal(view.preadNowait(memory.address, MiB - 6, 6), true)
  t.equal(memory.buffer.toString('latin1', 0, 6), '\0hello')
  const out = { fd: -1, offset: 0, resident: false }
  t.ok(view.map(100, 10, out) && out.resident && out.offset === 100)
  await view.flush()
  await view.prefetch(0, MiB)
})

void t.test('memory - is gone when it is closed', async (t) => {
  const before = fs.readdirSync('/proc/self/fd').length
  const node = await openImage({ image: 'memory:1M', readOnly: true })
  t.equal(node.readOnly, true)
  t.equal(fs.readdirSync('/proc/self/fd').length, before + 1)
  await node.close()
  t.equal(fs.readdirSync('/proc/self/fd').length, before)
})

void t.test('memory - a size that is none is refused in one line', async (t) => {
  for (const image of ['memory:', 'memory:x', 'memory:-1', 'memory:8E', 'memory:1M:2M']) {
    await t.rejects(openImage({ image }), { kind: 'config', message: /^memory disk: / }, image)
  }
})
