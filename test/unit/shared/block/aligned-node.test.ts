import * as crypto from 'node:crypto'
import t from 'tap'
import { AlignedNode } from '../../../../shared/block/aligned-node.ts'
import type { BlockExtent, BlockLimits, BlockNode, NodeHandle } from '../../../../shared/block/block-node.ts'
import { systemError } from '../../../../shared/errors/system-error.ts'
import { EINVAL, ENOTSUP } from '../../../../shared/syscall/libc.ts'
import { Memory } from '../../../../shared/syscall/memory.ts'
import { readNode, writeNode } from '../../../helpers/raw-node.ts'

const KiB = 1024
const LANES = 40
/** Odd, so that neighbours share blocks. */
const LANE = 1777
const STEPS = 60

/** Takes its time, and whole blocks only; what is behind the last also as it is. */
class BlocksNode implements BlockNode {
  readonly driver = 'test-blocks'
  readonly readOnly = false
  readonly length: number
  readonly limits: BlockLimits
  readonly bytes: Buffer
  /** Of zeroing without writing. */
  canZero = true
  readonly calls: string[] = []
  readonly #size: number

  constructor(length: number, size: number, memoryAlignment: number) {
    this.length = length
    this.#size = size
    this.limits = { requestAlignment: size, memoryAlignment, optimalTransfer: 512 }
    this.bytes = Buffer.alloc(length)
  }

  #check(what: string, offset: number, length: number, address: number, beyondEnd = false): void {
    this.calls.push(`${what} ${offset} ${length}`)
    const tail = this.length - (this.length % this.#size)
    const isTail = !beyondEnd && offset >= tail && offset + length <= this.length
    if (!isTail && (offset % this.#size !== 0 || length % this.#size !== 0))
      throw systemError(EINVAL, `${what} of ${length} bytes at ${offset}`)
    if (!isTail && address % this.limits.memoryAlignment! !== 0)
      throw systemError(EINVAL, `${what} at ${address}`)
    if (offset + length > (beyondEnd ? Math.ceil(this.length / this.#size) * this.#size : this.length))
      throw systemError(EINVAL, `${what} beyond the end`)
  }

  map(): boolean {
    return false
  }

  preadNowait(): boolean {
    return false
  }

  async pread(memory: Memory, at: number, offset: number, length: number): Promise<void> {
    this.#check('read', offset, length, memory.address + at, true)
    const bytes = Buffer.alloc(length)
    this.bytes.copy(bytes, 0, offset)
    await turns()
    bytes.copy(memory.buffer, at)
  }

  pwriteNowait(): boolean {
    throw new Error('a write that nobody keeps others off')
  }

  async pwrite(memory: Memory, at: number, offset: number, length: number): Promise<void> {
    this.#check('write', offset, length, memory.address + at)
    await turns()
    memory.buffer.copy(this.bytes, offset, at, at + length)
  }

  async pwriteZeroes(offset: number, length: number, { noFallback }: { noFallback: boolean }): Promise<void> {
    this.#check('zero', offset, length, 0)
    if (noFallback && !this.canZero) throw systemError(ENOTSUP, 'zeroing')
    await turns()
    this.bytes.fill(0, offset, offset + length)
  }

  async pdiscard(offset: number, length: number): Promise<void> {
    this.#check('discard', offset, length, 0)
    await turns()
  }

  async flush(): Promise<void> {}
  async prefetch(): Promise<void> {}

  async blockStatus(_offset: number, length: number): Promise<BlockExtent[]> {
    return [{ length, flags: 0 }]
  }

  handle(): NodeHandle {
    return { driver: this.driver }
  }

  async close(): Promise<void> {}
}

/** Some turns of the loop, so that others come in between. */
async function turns(): Promise<void> {
  for (let left = crypto.randomInt(4); left > 0; left--) await new Promise((resolve) => setImmediate(resolve))
}

const zeroing = { mayUnmap: true, noFallback: false }

for (const [size, length] of [
  [512, 64 * KiB],
  [4096, 96 * KiB],
  [4096, LANES * LANE + 1],
  [64 * KiB, 96 * KiB + 1]
] as const) {
  void t.test(`aligned - any change at once of ${length} bytes in blocks of ${size}`, async (t) => {
    const child = new BlocksNode(length, size, 512)
    const node = new AlignedNode(child)
    t.strictSame(node.limits, { requestAlignment: 1, optimalTransfer: size })
    const shadow = Buffer.alloc(length)
    const work = async (lane: number): Promise<void> => {
      const from = lane * Math.min(LANE, Math.floor(length / LANES))
      const room = lane === LANES - 1 ? length - from : Math.min(LANE, Math.floor(length / LANES))
      for (let step = 0; step < STEPS; step++) {
        const offset = from + crypto.randomInt(room)
        const count = 1 + crypto.randomInt(from + room - offset)
        const kind = crypto.randomInt(4)
        if (kind === 0) {
          const expected = shadow.subarray(offset, offset + count)
          if (!(await readNode(node, offset, count)).equals(expected))
            throw new Error(`wrong data in ${count} bytes at ${offset}`)
        } else if (kind === 1) {
          shadow.fill(0, offset, offset + count)
          await node.pwriteZeroes(offset, count, zeroing)
        } else {
          const bytes = crypto.randomBytes(count)
          bytes.copy(shadow, offset)
          await writeNode(node, offset, bytes)
        }
      }
    }
    await Promise.all(Array.from({ length: LANES }, (_, lane) => work(lane)))
    t.ok(child.bytes.equals(shadow))
  })
}

void t.test('aligned - whole blocks are passed on as they are, the rest is widened', async (t) => {
  const child = new BlocksNode(16 * KiB + 100, 4096, 512)
  const node = new AlignedNode(child)
  const memory = Memory.allocate(16 * KiB, 4096)
  const calls = async (act: () => Promise<void>): Promise<string[]> => {
    child.calls.length = 0
    await act()
    return child.calls
  }
  const write = (offset: number, length: number, at = 0): Promise<string[]> =>
    calls(() => node.pwrite(memory, at, offset, length))
  t.strictSame(await write(4096, 8192), ['write 4096 8192'])
  t.strictSame(await write(4096, 4096, 1), ['write 4096 4096'], 'from any address')
  t.strictSame(await write(100, 1), ['read 0 4096', 'write 0 4096'])
  t.strictSame(await write(0, 4097), ['read 4096 4096', 'write 0 8192'])
  t.strictSame(await write(4095, 4097), ['read 0 4096', 'write 0 8192'])
  t.strictSame(await write(4095, 2), ['read 0 4096', 'read 4096 4096', 'write 0 8192'])
  t.strictSame(await write(16 * KiB + 10, 20), [`write ${16 * KiB + 10} 20`], 'the rest behind the blocks')
  t.strictSame(await write(12 * KiB, 4096 + 50), [`write ${12 * KiB} 4096`, `write ${16 * KiB} 50`])
  t.strictSame(await calls(() => node.pread(memory, 0, 4096, 4096)), ['read 4096 4096'])
  t.strictSame(await calls(() => node.pread(memory, 7, 4097, 4096)), ['read 4096 8192'])
  t.strictSame(await calls(() => node.pread(memory, 0, 16 * KiB, 100)), [`read ${16 * KiB} 4096`])
  t.strictSame(await calls(() => node.pdiscard(1, 12 * KiB)), ['discard 4096 8192'], 'a discard is a hint')
  t.strictSame(await calls(() => node.pdiscard(1, 4096)), [])
  t.equal(node.pwriteNowait(), false)
})

void t.test('aligned - what cannot be zeroed quickly is refused before anything is changed', async (t) => {
  const child = new BlocksNode(16 * KiB, 4096, 1)
  child.bytes.fill(1)
  const node = new AlignedNode(child)
  const quickly = { mayUnmap: true, noFallback: true }
  child.canZero = false
  const refused = { kind: 'request', errno: ENOTSUP, message: /zeroing/ }
  for (const [offset, length] of [
    [0, 100],
    [1, 8192],
    [0, 4097],
    [4095, 2]
  ] as const) {
    await t.rejects(node.pwriteZeroes(offset, length, quickly), refused)
    t.ok(child.bytes.equals(Buffer.alloc(16 * KiB, 1)), `${length} bytes at ${offset}`)
  }
  child.canZero = true
  await node.pwriteZeroes(1, 8192, quickly)
  t.ok(child.bytes.equals(Buffer.alloc(16 * KiB, 1).fill(0, 1, 8193)))
})
