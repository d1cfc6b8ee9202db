import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as net from 'node:net'
import * as path from 'node:path'
import t, { type Test } from 'tap'
import { openNode, type BlockNode } from '../../../../../../shared/block/index.ts'
import { attachNode } from '../../../../../../shared/block/driver-registry.ts'
import type { FileOptions } from '../../../../../../shared/block/drivers/file/driver.ts'
import { Memory } from '../../../../../../shared/syscall/memory.ts'
import { allocatedBytes, emptyImage, imageOf } from '../../../../../helpers/files.ts'
import { descriptorOf, readNode, writeNode } from '../../../../../helpers/raw-node.ts'
import { tempDir } from '../../../../../helpers/temp-dir.ts'
import { within } from '../../../../../helpers/wait-for.ts'

const KiB = 1024
const MiB = 1024 * KiB
const EIO = 5
const HOLE = 3
const fdCount = (): number => fs.readdirSync('/proc/self/fd').length

const options = (filename: string, more: Partial<FileOptions> = {}): FileOptions => ({
  driver: 'file',
  filename,
  ...more
})

/** Opens a file for reading and writing, closed with the test. */
async function open(t: Test, filename: string): Promise<BlockNode> {
  const node = await openNode(options(filename))
  t.teardown(() => node.close())
  return node
}

void t.test(
  'file - what cannot be served is refused in one line, without a hang, and leaves nothing open',
  async (t) => {
    const folder = tempDir(t)
    const at = (name: string): string => path.join(folder, name)
    t.equal(spawnSync('mkfifo', [at('fifo')]).status, 0)
    fs.symlinkSync(at('nowhere'), at('dangling'))
    const server = net.createServer().listen(at('socket'))
    t.teardown(() => server.close())
    const before = fdCount()
    for (const [filename, message] of [
      [at('missing'), /no such file/],
      [at('missing/image'), /no such file/],
      [at('dangling'), /no such file/],
      [at(''), /directory/],
      [at('fifo'), /special file/],
      [at('socket'), /no such device|special file/],
      ['/dev/null', /character device/]
    ] as const) {
      for (const readOnly of [true, false]) {
        const opened = openNode(options(filename, { 'read-only': readOnly }))
        const error: unknown = await within(filename, opened, 5000).catch((error: unknown) => error)
        t.match(error, { kind: 'config', message })
        t.ok(String(error).includes(`'${filename}'`) && !String(error).includes('\n'), String(error))
      }
    }
    t.equal(fdCount(), before)
  }
)

void t.test('file - who writes an image has it alone; readers share it', async (t) => {
  const image = emptyImage(t, MiB)
  const locked = { kind: 'config', message: /locked/ }
  const readOnly = options(image, { 'read-only': true })
  const before = fdCount()

  const writer = await openNode(options(image))
  await t.rejects(openNode(options(image)), locked, 'a second writer')
  await t.rejects(openNode(readOnly), locked, 'a reader beside a writer')
  const blind = await openNode(options(image, { locking: 'off' }))
  await blind.close()
  await t.rejects(openNode(options(image)), locked, 'closing an open that took no lock gives none back')
  await writer.close()

  const readers = [await openNode(readOnly), await openNode(readOnly)]
  await t.rejects(openNode(options(image)), locked, 'a writer beside readers')
  for (const reader of readers) await reader.close()
  await (await openNode(options(image))).close()
  t.equal(fdCount(), before)
})

void t.test(
  'file - reads and writes are exact, from any place in memory, and a view sees them',
  async (t) => {
    const node = await open(t, emptyImage(t, MiB))
    t.strictSame([node.length, node.readOnly, node.driver], [MiB, false, 'file'])
    const view = attachNode(structuredClone(node.handle()))
    await writeNode(node, 1000, Buffer.from('hello'))
    t.equal((await readNode(view, 998, 9)).toString('latin1'), '\0\0hello\0\0')
    const memory = Memory.allocate(8192)
    memory.buffer.fill(0xee)
    await view.pread(memory, 4000, 1000, 5)
    t.equal(
      memory.buffer.toString('latin1', 3999, 4006),
      '\xeehello\xee',
      'no byte beside the target is touched'
    )
    memory.buffer.write('bye', 5000)
    t.equal(view.pwriteNowait(memory.address + 5000, MiB - 3, 3), true)
    t.equal(view.preadNowait(memory.address, MiB - 4, 4), true)
    t.equal(memory.buffer.toString('latin1', 0, 5), '\0bye\xee')
    await view.flush()
    await view.prefetch(0, MiB)
  }
)

void t.test('file - a hole is told as long as it is one', async (t) => {
  const image = emptyImage(t, 4 * MiB)
  const node = await open(t, image)
  const told: [number, number, boolean][] = []
  const expect = async (offset: number, length: number, hole: boolean): Promise<void> => {
    const said = [await node.isHole?.(offset, length), node.isHoleNow?.(offset, length)]
    if (said.some((each) => each !== hole)) told.push([offset, length, !hole])
  }
  await expect(0, 4 * MiB, true)
  await writeNode(node, MiB, Buffer.alloc(64 * KiB, 1))
  await expect(0, MiB, true)
  await expect(0, MiB + 1, false)
  await expect(MiB, 4 * KiB, false)
  await expect(MiB + 60 * KiB, 8 * KiB, false)
  await expect(MiB + 64 * KiB, 3 * MiB - 64 * KiB, true)
  await writeNode(node, 3 * MiB, Buffer.alloc(4 * KiB, 1))
  await expect(2 * MiB, 2 * MiB, false)
  await expect(MiB, 64 * KiB, false)
  await node.pwriteZeroes(MiB, 64 * KiB, { mayUnmap: true, noFallback: false })
  await expect(MiB, 64 * KiB, true)
  await writeNode(node, MiB, Buffer.alloc(64 * KiB, 1))
  await expect(MiB, 64 * KiB, false)
  await node.pdiscard(MiB, 64 * KiB)
  await expect(MiB, 64 * KiB, true)
  fs.truncateSync(image, 2 * MiB)
  await expect(MiB + 64 * KiB, MiB - 64 * KiB, true)
  await expect(MiB + 64 * KiB, MiB, false)
  await expect(3 * MiB, 64 * KiB, false)
  t.same(told, [])
})

void t.test('file - one that had no holes is asked about them when it may have some', async (t) => {
  const image = imageOf(t, Buffer.alloc(MiB, 1))
  const node = await open(t, image)
  const view = attachNode(structuredClone(node.handle()))
  t.equal(spawnSync('fallocate', ['--punch-hole', '--length=512K', image]).status, 0)
  t.notOk(view.isHoleNow?.(0, 64 * KiB), 'by somebody else')
  await node.pdiscard(MiB / 2, MiB / 2)
  t.ok(view.isHoleNow?.(0, 64 * KiB))
  t.ok(view.isHoleNow?.(MiB / 2, 64 * KiB))
})

void t.test('file - a file that has become shorter is EIO, not data', async (t) => {
  const image = imageOf(t, Buffer.alloc(MiB, 1))
  const node = await open(t, image)
  fs.truncateSync(image, 10_000)
  for (const [offset, length] of [
    [10_000, 1],
    [9_999, 2],
    [0, MiB],
    [MiB - 1, 1]
  ] as const) {
    await t.rejects(
      readNode(node, offset, length),
      { kind: 'request', errno: EIO, message: /beyond the end/ },
      `${length} bytes at ${offset}`
    )
    const memory = Memory.allocate(length)
    t.equal(node.preadNowait(memory.address, offset, length), false)
  }
  t.equal((await readNode(node, 0, 10_000)).length, 10_000)
})

void t.test('file - block status tells data and holes in order, as many as wanted', async (t) => {
  const node = await open(t, emptyImage(t, MiB))
  for (const at of [64, 512]) await writeNode(node, at * KiB, Buffer.alloc(64 * KiB, 1))
  const all = [
    { length: 64 * KiB, flags: HOLE },
    { length: 64 * KiB, flags: 0 },
    { length: 384 * KiB, flags: HOLE },
    { length: 64 * KiB, flags: 0 },
    { length: 448 * KiB, flags: HOLE }
  ]
  t.strictSame(await node.blockStatus(0, MiB, 100), all)
  for (let most = 1; most <= 5; most++) t.strictSame(await node.blockStatus(0, MiB, most), all.slice(0, most))
  t.strictSame(await node.blockStatus(100 * KiB + 1, 100, 10), [{ length: 100, flags: 0 }])
  t.strictSame(await node.blockStatus(MiB - 1, 1, 10), [{ length: 1, flags: HOLE }])
  t.strictSame(await node.blockStatus(64 * KiB - 1, 2, 10), [
    { length: 1, flags: HOLE },
    { length: 1, flags: 0 }
  ])
})

for (const mayUnmap of [true, false]) {
  void t.test(
    `file - zeroes that ${mayUnmap ? 'may' : 'must not'} unmap keep their promise about space`,
    async (t) => {
      const content = Buffer.alloc(4 * MiB, 1)
      const image = imageOf(t, content)
      const node = await open(t, image)
      fs.fsyncSync(descriptorOf(node))
      const before = allocatedBytes(image)
      for (const [offset, length] of [
        [MiB, MiB],
        [3 * MiB + 5, 100_000]
      ] as const) {
        await node.pwriteZeroes(offset, length, { mayUnmap, noFallback: false })
        content.fill(0, offset, offset + length)
      }
      await node.flush()
      t.ok((await readNode(node, 0, content.length)).equals(content))
      if (mayUnmap) t.ok(allocatedBytes(image) <= before - MiB, `${allocatedBytes(image)} of ${before} bytes`)
      else t.ok(allocatedBytes(image) >= before, `${allocatedBytes(image)} of ${before} bytes`)
    }
  )
}

void t.test('file - zeroes that must not unmap fill a hole', async (t) => {
  const image = emptyImage(t, 4 * MiB)
  const node = await open(t, image)
  await node.pwriteZeroes(0, 4 * MiB, { mayUnmap: false, noFallback: false })
  t.ok(allocatedBytes(image) >= 4 * MiB, `${allocatedBytes(image)} bytes`)
  t.equal(fs.statSync(image).size, 4 * MiB, 'and the file has its size')
})

void t.test('file - discarding frees whole blocks, and touches nothing beside', async (t) => {
  const image = imageOf(t, Buffer.alloc(4 * MiB, 1))
  const node = await open(t, image)
  fs.fsyncSync(descriptorOf(node))
  const before = allocatedBytes(image)
  await node.pdiscard(MiB - 10, MiB + 20)
  await node.flush()
  t.ok(allocatedBytes(image) <= before - MiB)
  t.ok((await readNode(node, 0, MiB - 10)).equals(Buffer.alloc(MiB - 10, 1)))
  t.ok((await readNode(node, 2 * MiB + 10, MiB)).equals(Buffer.alloc(MiB, 1)))
})

void t.test('file - a read-only node has nothing to flush, and its file is not written', async (t) => {
  const image = imageOf(t, Buffer.alloc(4096, 1))
  const node = await openNode(options(image, { 'read-only': true }))
  t.equal(node.readOnly, true)
  await node.flush()
  await t.rejects(
    writeNode(node, 0, Buffer.alloc(1)),
    { kind: 'request', message: /^write: / },
    'the descriptor cannot write'
  )
  t.ok(fs.readFileSync(image).equals(Buffer.alloc(4096, 1)))
  await node.close()
})
