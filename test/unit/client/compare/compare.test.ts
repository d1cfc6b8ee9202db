import * as crypto from 'node:crypto'
import t from 'tap'
import { compare, type Verdict } from '../../../../client/compare/compare.ts'
import { MiB } from '../../../helpers/files.ts'
import { DATA, extentList, HOLE, MemorySource } from '../copy/helpers.ts'

const SIZE = 12 * MiB + 77

const result = async (one: MemorySource, other: MemorySource, strict = false): Promise<unknown> =>
  compare(one, other, { strict, onProgress: () => undefined })

const same: Verdict = { kind: 'identical', sizesDiffer: false }

/** A copy with other bytes at some places. */
function changed(bytes: Buffer, ...places: number[]): Buffer {
  const copy = Buffer.from(bytes)
  for (const place of new Set(places)) copy[place]! ^= 1
  return copy
}

void t.test('compare - the first byte that differs, wherever it is', async (t) => {
  const bytes = crypto.randomBytes(SIZE)
  t.same(await result(new MemorySource(bytes), new MemorySource(Buffer.from(bytes))), same)
  for (const place of [0, 1, 511, 512, MiB - 1, MiB, 5 * MiB + 3, SIZE - 1]) {
    const other = new MemorySource(changed(bytes, place, SIZE - 1))
    t.same(await result(new MemorySource(bytes), other), { kind: 'content', offset: place, beyond: false })
  }
})

void t.test('compare - holes are not read, and equal zeroes', async (t) => {
  const bytes = Buffer.concat([crypto.randomBytes(MiB), Buffer.alloc(9 * MiB), crypto.randomBytes(MiB)])
  const extents = extentList(MiB, DATA, 9 * MiB, HOLE, MiB, DATA)
  const other = extentList(2 * MiB, DATA, 4 * MiB, HOLE, 5 * MiB, DATA)
  const one = new MemorySource(bytes, { extents })
  const two = new MemorySource(Buffer.from(bytes), { extents: other })
  let progress = 0
  const options = { strict: false, onProgress: (n: number) => (progress += n) }
  t.same(await compare(one, two, options), same)
  t.equal(progress, bytes.length)
  t.ok(one.reads.every(([offset, length]) => offset + length <= MiB || offset >= 10 * MiB))
  t.same(await result(one, new MemorySource(changed(bytes, 7 * MiB + 5), { extents: other })), {
    kind: 'content',
    offset: 7 * MiB + 5,
    beyond: false
  })
  t.same(await result(one, two, true), { kind: 'status', offset: MiB })
  t.same(await result(one, new MemorySource(changed(bytes, 1000), { extents: other }), true), {
    kind: 'content',
    offset: 1000,
    beyond: false
  })
})

void t.test('compare - of different sizes: the rest must be zero', async (t) => {
  const bytes = crypto.randomBytes(SIZE)
  bytes[0] = 1
  const longer = Buffer.concat([bytes, Buffer.alloc(3 * MiB)])
  const [one, two] = [new MemorySource(bytes), new MemorySource(longer)]
  for (const pair of [
    [one, two],
    [two, one]
  ] as const) {
    t.same(await result(...pair), { kind: 'identical', sizesDiffer: true })
    t.same(await result(...pair, true), { kind: 'size' })
  }
  const other = new MemorySource(changed(longer, SIZE + MiB))
  t.same(await result(one, other), { kind: 'content', offset: SIZE + MiB, beyond: true })
  t.same(await result(one, new MemorySource(Buffer.alloc(0))), { kind: 'content', offset: 0, beyond: true })
})

void t.test('compare - whole blocks are read of a source that wants that', async (t) => {
  const bytes = crypto.randomBytes(2 * MiB)
  const one = new MemorySource(bytes, { minimum: 4096 })
  const two = new MemorySource(Buffer.from(bytes.subarray(0, MiB + 77)), {
    extents: extentList(999, DATA, 2, DATA, MiB + 77 - 1001, DATA)
  })
  t.same(await result(one, two), { kind: 'content', offset: MiB + 77, beyond: true })
})

void t.test('compare - a failure counts where it is', async (t) => {
  const bytes = crypto.randomBytes(SIZE)
  const [one, two] = [new MemorySource(bytes), new MemorySource(changed(bytes, 100))]
  one.failsAt = 2 * MiB
  t.same(await result(one, two), { kind: 'content', offset: 100, beyond: false }, 'what differs comes first')
  t.match(await result(one, new MemorySource(changed(bytes, SIZE - 1))), {
    kind: 'failure',
    during: 'read',
    error: { message: /^read at/ }
  })
  one.statusFails = true
  t.match(await result(one, two), { kind: 'failure', during: 'status' })
})
