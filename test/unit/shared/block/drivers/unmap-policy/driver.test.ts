import t from 'tap'
import type { BlockNode } from '../../../../../../shared/block/block-node.ts'
import { attachNode, openNode, registerDriver } from '../../../../../../shared/block/driver-registry.ts'
import {
  unmapPolicy,
  withUnmapPolicy,
  type UnmapOptions
} from '../../../../../../shared/block/drivers/unmap-policy/driver.ts'
import '../../../../../../shared/block/drivers/index.ts'
import { Memory } from '../../../../../../shared/syscall/memory.ts'
import { inertNode } from '../../../../../helpers/inert-node.ts'

const KiB = 1024

let calls: string[] = []
const call = (text: string): Promise<void> => {
  calls.push(text)
  return Promise.resolve()
}

const below: BlockNode = {
  ...inertNode,
  driver: 'test-below',
  length: 64 * KiB,
  takesFua: true,
  pread: (_memory, at, offset, length) => call(`read ${at} ${offset} ${length}`),
  pwriteNowait: (_address, offset, length) => {
    calls.push(`write now ${offset} ${length}`)
    return true
  },
  pwrite: (_memory, at, offset, length, fua) => call(`write ${at} ${offset} ${length}${fua ? ' fua' : ''}`),
  pwriteZeroes: (offset, length, { mayUnmap, noFallback, fua }) =>
    call(
      `zero ${offset} ${length}${mayUnmap ? ' unmap' : ''}${noFallback ? ' fast' : ''}${fua ? ' fua' : ''}`
    ),
  pdiscard: (offset, length) => call(`discard ${offset} ${length}`),
  flush: () => call('flush'),
  prefetch: (offset, length) => call(`prefetch ${offset} ${length}`),
  isHole: async () => true,
  handle: () => ({ driver: 'test-below' }),
  close: () => call('close')
}
registerDriver({
  name: 'test-below',
  open: async () => {
    calls.push('open')
    return below
  },
  attach: () => below
})

/** The node, and a view of it as another thread has it. */
const both = (options: UnmapOptions): BlockNode[] => {
  const node = withUnmapPolicy(below, unmapPolicy(options))
  return [node, attachNode(structuredClone(node.handle()))]
}

/** What a node makes of it for the node below. */
async function made(node: BlockNode, act: (node: BlockNode) => unknown): Promise<string[]> {
  calls = []
  await act(node)
  return calls
}

const data = Memory.allocate(8 * KiB)
data.buffer.fill(0)
data.buffer[6 * KiB] = 1
const zeroes = 4 * KiB

const writeZeroes = (mayUnmap: boolean) => (node: BlockNode) =>
  node.pwriteZeroes(0, KiB, { mayUnmap, noFallback: true, fua: true })
const discard = (node: BlockNode): Promise<void> => node.pdiscard(0, KiB)
const write = (at: number, length: number) => (node: BlockNode) => node.pwrite(data, at, 512, length, true)
const writeNow = (at: number, length: number) => (node: BlockNode) =>
  node.pwriteNowait(data.address + at, 512, length) || calls.push('later')

void t.test('unmapPolicy - what is usual needs no node', async (t) => {
  for (const options of [{}, { discard: 'unmap' }, { discard: 'unmap', 'detect-zeroes': 'off' }] as const)
    t.equal(withUnmapPolicy(below, unmapPolicy(options)), below)
  t.throws(() => unmapPolicy({ discard: 'ignore', 'detect-zeroes': 'unmap' }), {
    kind: 'config',
    message: 'detect-zeroes=unmap is of no use with discard=ignore'
  })
})

void t.test('discard=ignore - discards do nothing, and zeroes make no holes', async (t) => {
  for (const node of both({ discard: 'ignore' })) {
    t.strictSame(await made(node, discard), [])
    t.strictSame(await made(node, writeZeroes(true)), ['zero 0 1024 fast fua'])
    t.strictSame(await made(node, writeZeroes(false)), ['zero 0 1024 fast fua'])
    t.strictSame(await made(node, write(0, zeroes)), ['write 0 512 4096 fua'])
    t.strictSame(await made(node, writeNow(0, zeroes)), ['write now 512 4096'])
  }
})

void t.test('detect-zeroes - a write of nothing but zeroes asks for zeroes', async (t) => {
  for (const [detect, unmap] of [
    ['on', ''],
    ['unmap', ' unmap']
  ] as const) {
    for (const node of both({ 'detect-zeroes': detect })) {
      t.strictSame(await made(node, write(100, zeroes)), [`zero 512 4096${unmap} fua`])
      t.strictSame(await made(node, write(6 * KiB - 1, 1)), [`zero 512 1${unmap} fua`])
      t.strictSame(await made(node, writeNow(100, zeroes)), ['later'])
      for (const [at, length] of [
        [0, 8 * KiB],
        [6 * KiB - 1, 2],
        [6 * KiB, 2 * KiB],
        [6 * KiB, 1]
      ] as const) {
        t.strictSame(await made(node, write(at, length)), [`write ${at} 512 ${length} fua`])
        t.strictSame(await made(node, writeNow(at, length)), [`write now 512 ${length}`])
      }
      t.strictSame(await made(node, discard), ['discard 0 1024'])
      t.strictSame(await made(node, writeZeroes(true)), ['zero 0 1024 unmap fast fua'])
    }
  }
})

void t.test('UnmapPolicyNode - is what the node below is otherwise', async (t) => {
  for (const node of both({ discard: 'ignore', 'detect-zeroes': 'on' })) {
    const { driver, length, readOnly, limits, takesFua } = node
    t.strictSame({ driver, length, readOnly, limits, takesFua }, { ...pick(below) })
    t.strictSame(await made(node, () => node.pread(data, 1, 2, 3)), ['read 1 2 3'])
    t.strictSame(await made(node, () => node.flush()), ['flush'])
    t.strictSame(await made(node, () => node.prefetch(1, 2)), ['prefetch 1 2'])
    t.strictSame(await node.blockStatus(0, KiB, 1), [{ length: KiB, flags: 0 }])
    t.equal(await node.isHole!(0, KiB), true)
    t.equal(node.isHoleNow!(0, KiB), false)
    t.equal(node.map(0, KiB, { fd: -1, offset: 0, resident: false }), false)
    t.equal(node.preadNowait(data.address, 0, KiB), false)
    t.strictSame(await made(node, () => node.close()), ['close'])
  }
})

void t.test('openNode - puts it above a node that asks for it', async (t) => {
  const node = await openNode({ driver: 'test-below', discard: 'ignore' })
  t.strictSame(await made(node, discard), [])
  t.equal(await openNode({ driver: 'test-below' }), below)
  calls = []
  const contradictory = { driver: 'test-below', discard: 'ignore', 'detect-zeroes': 'unmap' } as const
  await t.rejects(openNode(contradictory), { kind: 'config', message: /of no use/ })
  t.strictSame(calls, [], 'which is told before anything is opened')
  await t.rejects(openNode({ driver: 'unmap-policy' }), { kind: 'bug', message: /by the options of another/ })
})

function pick({ driver, length, readOnly, limits, takesFua }: BlockNode): object {
  return { driver, length, readOnly, limits, takesFua }
}
