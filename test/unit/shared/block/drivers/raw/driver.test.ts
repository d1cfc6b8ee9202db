import * as fs from 'node:fs'
import t, { type Test } from 'tap'
import { openImage, type BlockNode } from '../../../../../../shared/block/index.ts'
import { attachNode } from '../../../../../../shared/block/driver-registry.ts'
import { Memory } from '../../../../../../shared/syscall/memory.ts'
import { imageOf } from '../../../../../helpers/files.ts'
import { readNode, writeNode } from '../../../../../helpers/raw-node.ts'

const EPERM = 1
const SIZE = 64 * 1024
const refusal = { kind: 'request', errno: EPERM, message: /format/ }
const qcow2 = Buffer.from([0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 3])

interface Opened {
  node: BlockNode
  file: () => Buffer
}

async function open(
  t: Test,
  content: Buffer,
  options: { format?: string; offset?: number } = {}
): Promise<Opened> {
  const image = imageOf(t, content)
  const node = await openImage({ image, ...options })
  t.teardown(() => node.close())
  return { node, file: () => fs.readFileSync(image) }
}

void t.test('raw guard - when the format was guessed, a write that changes the guess is EPERM', async (t) => {
  const content = Buffer.alloc(SIZE, 1)
  for (const [what, offset, bytes] of [
    ['the magic', 0, qcow2],
    ['a large write that begins with it', 0, Buffer.concat([qcow2, Buffer.alloc(8192)])],
    ['another magic', 0, Buffer.from('QED\0')],
    ['a magic that is not at the start', 0x40, Buffer.from([0x7f, 0x10, 0xda, 0xbe])],
    ['a write across it', 10, Buffer.concat([Buffer.alloc(54), Buffer.from([0x7f, 0x10, 0xda, 0xbe])])]
  ] as const) {
    const { node, file } = await open(t, content)
    await t.rejects(writeNode(node, offset, bytes), refusal, what)
    const memory = Memory.allocate(bytes.length)
    memory.buffer.set(bytes)
    t.equal(node.pwriteNowait(memory.address, offset, bytes.length), false, 'nor without waiting')
    t.ok(file().equals(content), 'and nothing was written')
  }
})

void t.test('raw guard - a write that completes a magic is EPERM, in each order of its parts', async (t) => {
  for (const order of [
    [0, 2],
    [2, 0]
  ]) {
    const { node, file } = await open(t, Buffer.alloc(SIZE))
    await writeNode(node, order[0]!, qcow2.subarray(order[0], order[0]! + 2))
    await t.rejects(writeNode(node, order[1]!, qcow2.subarray(order[1], order[1]! + 2)), refusal)
    t.notOk(file().subarray(0, 4).equals(qcow2.subarray(0, 4)))
  }
})

void t.test('raw guard - two writes at the same time cannot complete a magic together', async (t) => {
  const { node, file } = await open(t, Buffer.alloc(SIZE))
  const other = attachNode(node.handle())
  const results = await Promise.allSettled([
    writeNode(node, 0, qcow2.subarray(0, 2)),
    writeNode(node, 2, qcow2.subarray(2, 4))
  ])
  t.ok(results.some(({ status }) => status === 'rejected'))
  t.notOk(file().subarray(0, 4).equals(qcow2.subarray(0, 4)))
  await t.rejects(writeNode(other, 0, qcow2), refusal, 'a view of the node guards, too')
})

void t.test('raw guard - zeroes and holes do not complete a magic', async (t) => {
  // All but its NUL: raw as it stands.
  const content = Buffer.concat([Buffer.from('QEDx'), Buffer.alloc(SIZE)])
  for (const mayUnmap of [true, false]) {
    const { node, file } = await open(t, content)
    const zeroed = node.pwriteZeroes(3, 4096, { mayUnmap, noFallback: false })
    await t.rejects(zeroed, refusal, `zeroes, ${mayUnmap ? 'with' : 'without'} holes`)
    t.equal(file().toString('latin1', 0, 4), 'QEDx')
  }
  const { node, file } = await open(t, content)
  // A hint: it may be refused, or change nothing.
  await node.pdiscard(3, 4096).catch(() => undefined)
  t.equal(file().toString('latin1', 0, 4), 'QEDx', 'discard')
})

void t.test('raw guard - everything else is written', async (t) => {
  const { node, file } = await open(t, Buffer.alloc(SIZE))
  await writeNode(node, 0, Buffer.alloc(4096, 7))
  await writeNode(node, 2048, qcow2)
  await writeNode(node, 4, qcow2)
  await node.pwriteZeroes(0, 4, { mayUnmap: true, noFallback: false })
  const memory = Memory.allocate(512)
  memory.buffer.fill(9, 0, 512)
  t.equal(node.pwriteNowait(memory.address, 2048, 512), true, 'behind the guarded start also at once')
  const expected = Buffer.concat([Buffer.alloc(4), qcow2, Buffer.alloc(2036, 7), Buffer.alloc(512, 9)])
  t.ok(file().subarray(0, 2560).equals(expected))
})

void t.test('raw guard - when the format was named, anything is written', async (t) => {
  const { node, file } = await open(t, Buffer.alloc(SIZE), { format: 'raw' })
  await writeNode(node, 0, qcow2)
  t.ok(file().subarray(0, 8).equals(qcow2))
})

void t.test('raw guard - with an offset it is the start of the file that is guarded', async (t) => {
  const { node, file } = await open(t, Buffer.alloc(SIZE), { offset: 32 })
  await writeNode(node, 0, qcow2)
  await t.rejects(writeNode(node, 32, Buffer.from([0x7f, 0x10, 0xda, 0xbe])), refusal)
  t.ok(file().subarray(32, 40).equals(qcow2))
})

void t.test('openImage - an image in another format is refused, unless raw is named', async (t) => {
  const image = imageOf(t, Buffer.concat([qcow2, Buffer.alloc(SIZE)]))
  await t.rejects(openImage({ image }), { kind: 'config', message: /qcow2/ })
  await t.rejects(openImage({ image, readOnly: true }), { kind: 'config', message: /qcow2/ })
  await t.rejects(openImage({ image, format: 'qcow2' }), { kind: 'config', message: /unknown format/ })
  const node = await openImage({ image, format: 'raw' })
  t.ok((await readNode(node, 0, 8)).equals(qcow2))
  await node.close()
})

void t.test('raw - a slice has its own bounds and reaches nothing outside of them', async (t) => {
  const image = imageOf(t, Buffer.from('0123456789abcdef'))
  const node = await openImage({ image, format: 'raw', offset: 4, size: 6 })
  t.equal(node.length, 6)
  t.equal((await readNode(node, 0, 6)).toString(), '456789')
  await writeNode(node, 5, Buffer.from('X'))
  const out = { fd: -1, offset: 0, resident: false }
  t.ok(node.map(2, 4, out))
  t.equal(out.offset, 6)
  t.strictSame(await node.blockStatus(0, 6, 10), [{ length: 6, flags: 0 }])
  const view = attachNode(structuredClone(node.handle()))
  t.equal((await readNode(view, 0, 6)).toString(), '45678X')
  await node.pwriteZeroes(0, 1, { mayUnmap: false, noFallback: false })
  t.equal(fs.readFileSync(image, 'latin1'), '0123\x005678Xabcdef')
  await node.close()
})

void t.test(
  'raw - an offset or a size beyond the end is refused in one line, and the file is closed',
  async (t) => {
    const image = imageOf(t, Buffer.alloc(1000))
    const before = fs.readdirSync('/proc/self/fd').length
    for (const [offset, size] of [
      [1001, undefined],
      [0, 1001],
      [999, 2],
      [1001, 0]
    ] as const) {
      await t.rejects(openImage({ image, offset, ...(size === undefined ? {} : { size }) }), {
        kind: 'config',
        message: /beyond the end/
      })
    }
    t.equal(fs.readdirSync('/proc/self/fd').length, before)
    const empty = await openImage({ image, offset: 1000 })
    t.equal(empty.length, 0)
    await empty.close()
  }
)
