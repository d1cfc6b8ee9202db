import * as crypto from 'node:crypto'
import t, { type Test } from 'tap'
import { copy, type CopyOptions } from '../../../../client/copy/copy.ts'
import type { StreamSource } from '../../../../client/copy/endpoint.ts'
import { KiB, MiB } from '../../../helpers/files.ts'
import { DATA, extentList, HOLE, MemoryDestination, MemorySource, someTime } from './helpers.ts'

const OPTIONS: CopyOptions = {
  requestSize: 64 * KiB,
  lanes: 8,
  sparse: 4096,
  allocated: false,
  destinationIsZero: false,
  extents: true,
  onProgress: () => undefined
}

/** A disk with data, a hole, and zeroes that are data. */
function disk(): { bytes: Buffer; extents: ReturnType<typeof extentList> } {
  const bytes = Buffer.concat([
    crypto.randomBytes(300_000),
    Buffer.alloc(500_000),
    crypto.randomBytes(10_000),
    Buffer.alloc(200_000),
    crypto.randomBytes(90_001)
  ])
  return { bytes, extents: extentList(300_000, DATA, 500_000, HOLE, 300_001, DATA) }
}

/** What a destination is before: not zero. */
const old = (length: number): Buffer => Buffer.alloc(length, 0xaa)

const sum = (ranges: (readonly [number, number, ...unknown[]])[]): number =>
  ranges.reduce((total, [, length]) => total + length, 0)

void t.test('copy - copies everything, and reads no hole', async (t) => {
  const { bytes, extents } = disk()
  const source = new MemorySource(bytes, { extents })
  const destination = new MemoryDestination(old(bytes.length))
  let progress = 0
  const copied = await copy(source, destination, { ...OPTIONS, onProgress: (n) => (progress += n) })
  t.ok(destination.bytes.equals(bytes))
  t.equal(copied, bytes.length)
  t.equal(progress, bytes.length)
  t.ok(source.reads.every(([offset, length]) => offset + length <= 303_104 || offset >= 798_720))
  t.ok(destination.mostInFlight > 1 && destination.mostInFlight <= 8, `${destination.mostInFlight} in flight`)
  t.ok(destination.zeroes.every(([, , allocate]) => !allocate))
  t.ok(sum(destination.writes) < 300_000 + 10_000 + 90_001 + 6 * 4096, 'zeroes are not written')
})

void t.test('copy - without extents it reads everything, and still makes holes', async (t) => {
  const { bytes, extents } = disk()
  const source = new MemorySource(bytes, { extents })
  const destination = new MemoryDestination(old(bytes.length))
  await copy(source, destination, { ...OPTIONS, extents: false })
  t.ok(destination.bytes.equals(bytes))
  t.equal(sum(source.reads), bytes.length)
  t.ok(sum(destination.zeroes) > 690_000)
})

void t.test('copy - with sparse 0 it does not look for zeroes', async (t) => {
  const { bytes, extents } = disk()
  const destination = new MemoryDestination(old(bytes.length))
  await copy(new MemorySource(bytes, { extents }), destination, { ...OPTIONS, sparse: 0 })
  t.ok(destination.bytes.equals(bytes))
  t.equal(sum(destination.zeroes), 798_720 - 303_104)
})

void t.test('copy - a destination that is zero already is told nothing of zeroes', async (t) => {
  for (const [own, told] of [
    [true, false],
    [false, true]
  ]) {
    const { bytes, extents } = disk()
    const destination = new MemoryDestination(Buffer.alloc(bytes.length), { isZero: own! })
    await copy(new MemorySource(bytes, { extents }), destination, { ...OPTIONS, destinationIsZero: told! })
    t.ok(destination.bytes.equals(bytes))
    t.same(destination.zeroes, [])
  }
})

void t.test('copy - allocated: nothing becomes a hole, not even where it is zero already', async (t) => {
  const { bytes, extents } = disk()
  const destination = new MemoryDestination(Buffer.alloc(bytes.length), { isZero: true })
  await copy(new MemorySource(bytes, { extents }), destination, { ...OPTIONS, allocated: true })
  t.ok(destination.bytes.equals(bytes))
  t.equal(sum(destination.zeroes) + sum(destination.writes), bytes.length)
  t.ok(destination.zeroes.every(([, , allocate]) => allocate))
})

void t.test('copy - obeys the block sizes of both', async (t) => {
  const bytes = disk().bytes.subarray(0, 1_097_728)
  const extents = extentList(300_000, DATA, 500_000, HOLE, bytes.length - 800_000, DATA)
  const destination = new MemoryDestination(old(bytes.length), { minimum: 4096 })
  await copy(new MemorySource(bytes, { extents, minimum: 512 }), destination, OPTIONS)
  t.ok(destination.bytes.equals(bytes))
})

void t.test('copy - in order where that is needed', async (t) => {
  const { bytes, extents } = disk()
  const destination = new MemoryDestination(old(bytes.length), { sequential: true, sparse: false })
  await copy(new MemorySource(bytes, { extents }), destination, OPTIONS)
  t.ok(destination.bytes.equals(bytes))
  const done = [...destination.writes, ...destination.zeroes].sort((a, b) => a[0] - b[0])
  t.equal(sum(done), bytes.length)
  const writes = destination.writes.map(([offset]) => offset)
  t.same(
    writes,
    writes.toSorted((a, b) => a - b)
  )
  t.equal(destination.mostInFlight, 1)
})

/** Gives `bytes` as they come. */
function stream(bytes: Buffer): StreamSource {
  let at = 0
  return {
    kind: 'stream',
    name: 'stream',
    async next({ buffer }, length) {
      const start = at
      await someTime()
      if (start !== at) throw new Error('read twice at a time')
      at = Math.min(bytes.length, at + length)
      return bytes.copy(buffer, 0, start, at)
    },
    close: async () => undefined
  }
}

void t.test('copy - from a stream', async (t) => {
  for (const length of [0, 1, 64 * KiB, 640 * KiB, MiB - 1]) {
    const bytes = Buffer.concat([crypto.randomBytes(length >> 1), Buffer.alloc(length - (length >> 1))])
    for (const sequential of [false, true]) {
      const destination = new MemoryDestination(old(length), { sequential, sparse: !sequential })
      t.equal(await copy(stream(bytes), destination, OPTIONS), length)
      t.ok(destination.bytes.equals(bytes), `${length} bytes${sequential ? ' to a stream' : ''}`)
    }
  }
})

void t.test('copy - a stream that does not fit is an error, and not written beyond the end', async (t) => {
  const destination = new MemoryDestination(old(100_000))
  const copying = copy(stream(crypto.randomBytes(200_000)), destination, OPTIONS)
  await t.rejects(copying, /'stream' has more than the 100000 bytes for which there is room in 'destination'/)
  t.ok(destination.writes.every(([offset, length]) => offset + length <= 100_000))
})

async function fails(
  t: Test,
  arrange: (source: MemorySource, destination: MemoryDestination) => void,
  why: RegExp
): Promise<void> {
  const source = new MemorySource(crypto.randomBytes(8 * MiB))
  const destination = new MemoryDestination(old(8 * MiB))
  arrange(source, destination)
  await t.rejects(copy(source, destination, OPTIONS), why)
  t.ok(sum(source.reads) < 4 * MiB, 'the rest is not begun')
}

void t.test('copy - the first failure ends it', async (t) => {
  await fails(t, (source) => (source.failsAt = MiB), /read at/)
  await fails(t, (_, destination) => (destination.failsAt = MiB), /write at/)
  await fails(t, (source) => (source.statusFails = true), /status/)
})
