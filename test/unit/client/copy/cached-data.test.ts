import * as crypto from 'node:crypto'
import t from 'tap'
import { CachedData } from '../../../../client/copy/cached-data.ts'
import { copy } from '../../../../client/copy/copy.ts'
import type { PageCache } from '../../../../client/copy/endpoint.ts'
import { zeroRuns } from '../../../../client/copy/zeroes.ts'
import { KiB, MiB } from '../../../helpers/files.ts'
import { MemoryDestination, MemorySource } from './helpers.ts'

const FD = 77

/** @param missing offsets from where on for one byte nothing is cached */
function cacheOf(bytes: Buffer, missing = Infinity): PageCache {
  const has = (offset: number, length: number): boolean => missing < offset || missing >= offset + length
  return {
    fd: FD,
    has,
    read: (offset, length, { buffer }) =>
      has(offset, length) && bytes.copy(buffer, 0, offset, offset + length) === length
  }
}

/** Blocks of 4 KiB: `x` is data, `.` zeroes. */
const blocks = (pattern: string): Buffer =>
  Buffer.concat([...pattern].map((char) => (char === 'x' ? crypto.randomBytes(4096) : Buffer.alloc(4096))))

void t.test('CachedData - finds the zeroes that are found in memory', (t) => {
  const pattern = ['x'.repeat(100), '.'.repeat(80), 'x.x..', 'x'.repeat(400), '.'.repeat(600)].join('')
  const bytes = Buffer.concat([blocks(pattern), Buffer.alloc(1000)])
  for (const sparse of [512, 4096, 64 * KiB, MiB]) {
    const data = new CachedData(cacheOf(bytes), sparse)
    for (const [offset, length] of [
      [0, bytes.length],
      [4096 * 63, 4096 * 90],
      [4096 * 100, 4096 * 70],
      [512, 512],
      [4096 * 584, bytes.length - 4096 * 584]
    ] as const) {
      const expected = zeroRuns(bytes.subarray(offset), length, offset, sparse)
      t.strictSame(
        data.runs({ offset, length, zero: false }),
        expected.map(({ start, end, zero }) => ({ offset: offset + start, length: end - start, zero })),
        `${length} bytes at ${offset} in blocks of ${sparse}`
      )
    }
  }
  t.end()
})

void t.test('CachedData - nothing is told of a piece that is not all cached', (t) => {
  const bytes = crypto.randomBytes(MiB)
  for (const sparse of [0, 4096]) {
    const data = new CachedData(cacheOf(bytes, 600_000), sparse)
    t.equal(data.runs({ offset: 0, length: MiB, zero: false }), undefined)
    t.ok(data.runs({ offset: 0, length: 512 * KiB, zero: false }))
  }
  t.end()
})

for (const sparse of [0, 4096])
  void t.test(`copy - sends what is cached, and reads the rest; sparse ${sparse}`, async (t) => {
    const bytes = Buffer.concat([blocks('x'.repeat(64) + '.'.repeat(20) + 'x..x'), crypto.randomBytes(MiB)])
    const missing = 700_000
    class CachedSource extends MemorySource {
      readonly cache = cacheOf(bytes, missing)
    }
    class Receiver extends MemoryDestination {
      readonly sent: [number, number][] = []

      async writeFile(offset: number, length: number, fd: number): Promise<void> {
        t.equal(fd, FD)
        this.sent.push([offset, length])
        bytes.copy(this.bytes, offset, offset, offset + length)
      }
    }
    const source = new CachedSource(bytes)
    const destination = new Receiver(Buffer.alloc(bytes.length, 0xaa))
    const requestSize = 64 * KiB
    const copied = await copy(source, destination, {
      requestSize,
      lanes: 4,
      sparse,
      allocated: false,
      destinationIsZero: false,
      extents: true,
      onProgress: () => undefined
    })
    t.equal(copied, bytes.length)
    t.ok(destination.bytes.equals(bytes))
    t.strictSame(source.reads, [[missing - (missing % requestSize), requestSize]])
    t.equal(destination.zeroes.length > 0, sparse > 0)
    t.equal(destination.sent.length > 0, true)
    t.equal(
      destination.sent.every(([, length]) => length >= 32 * KiB),
      true,
      'short ones are copied'
    )
  })
