import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { CachedData } from '../../../../client/copy/cached-data.ts'
import { copy } from '../../../../client/copy/copy.ts'
import type { PageCache } from '../../../../client/copy/endpoint.ts'
import { FileSource } from '../../../../client/copy/file-endpoint.ts'
import type { Piece } from '../../../../client/copy/pieces.ts'
import { zeroRuns } from '../../../../client/copy/zeroes.ts'
import { declare } from '../../../../shared/syscall/libc.ts'
import { Memory } from '../../../../shared/syscall/memory.ts'
import { isCachedExact } from '../../../../shared/syscall/page-cache.ts'
import { KiB, MiB } from '../../../helpers/files.ts'
import { MemoryDestination, MemorySource } from './helpers.ts'

const getrlimit = declare('int getrlimit(int resource, uintptr_t limits)')
const setrlimit = declare('int setrlimit(int resource, uintptr_t limits)')

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

const RLIMIT_NOFILE = 7
const limits = Memory.allocate(16)

/** Runs something while this process can open nothing. */
function withoutMoreFds<T>(run: () => T): T {
  getrlimit(RLIMIT_NOFILE, limits.address)
  const before = limits.buffer.readBigUInt64LE(0)
  const next = fs.openSync('/dev/null', 'r')
  fs.closeSync(next)
  const set = (limit: bigint): void => {
    limits.buffer.writeBigUInt64LE(limit, 0)
    setrlimit(RLIMIT_NOFILE, limits.address)
  }
  set(BigInt(next))
  try {
    return run()
  } finally {
    set(before)
  }
}

/** What is found when all is looked at. */
const piecesOf = (bytes: Buffer, offset: number, length: number, sparse: number): Piece[] =>
  zeroRuns(bytes.subarray(offset), length, offset, sparse).map(({ start, end, zero }) => ({
    offset: offset + start,
    length: end - start,
    zero
  }))

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
      t.strictSame(
        data.runs({ offset, length, zero: false }),
        piecesOf(bytes, offset, length, sparse),
        `${length} bytes at ${offset} in blocks of ${sparse}`
      )
    }
  }
  t.end()
})

void t.test('CachedData - of a file, whose blocks may begin with zeroes and be data', async (t) => {
  const kinds: Record<string, Buffer> = {
    x: crypto.randomBytes(4096),
    '.': Buffer.alloc(4096),
    // Begins with zeroes; only the last byte is something else.
    _: Buffer.concat([Buffer.alloc(4095), Buffer.from('1')])
  }
  const pattern = [
    'x'.repeat(200),
    '_',
    'x'.repeat(300),
    '.',
    'x_x._.',
    '_'.repeat(700),
    '.'.repeat(130),
    'x'
  ]
  const bytes = Buffer.concat([...pattern.join('')].map((kind) => kinds[kind]!).concat(Buffer.alloc(1000)))
  const file = path.join(t.testdir(), 'disk.img')
  fs.writeFileSync(file, bytes)
  for (const sparse of [512, 4096, 8192, 64 * KiB]) {
    const source = new FileSource(file, fs.openSync(file, 'r'))
    const data = new CachedData(source.cache, sparse)
    for (const [offset, length] of [
      [0, bytes.length],
      [0, 200 * 4096],
      [2 * MiB, 2 * MiB],
      [bytes.length - 1000, 1000],
      [3 * 4096, 4096 + 512]
    ] as const) {
      t.strictSame(
        data.runs({ offset, length, zero: false }),
        piecesOf(bytes, offset, length, sparse),
        `${length} bytes at ${offset} in blocks of ${sparse}`
      )
    }
    await source.close()
  }
})

void t.test('CachedData - of a file whose blocks do not begin with zeroes, no block is read', async (t) => {
  const bytes = crypto.randomBytes(4 * MiB)
  for (let at = 0; at < bytes.length; at += 4096) bytes[at] = 1
  const file = path.join(t.testdir(), 'disk.img')
  fs.writeFileSync(file, bytes)
  const source = new FileSource(file, fs.openSync(file, 'r'))
  const reads: number[] = []
  const cache: PageCache = {
    ...source.cache,
    read: (offset, length, memory) => reads.push(offset) > 0 && source.cache.read(offset, length, memory)
  }
  const data = new CachedData(cache, 4096)
  t.strictSame(data.runs({ offset: 0, length: bytes.length, zero: false }), [
    { offset: 0, length: bytes.length, zero: false }
  ])
  // Where it cannot be told what is cached, it is all read.
  t.equal(reads.length, isCachedExact ? 0 : 16)
  await source.close()
})

void t.test('CachedData - of a file, where there is no descriptor to be had for it', async (t) => {
  const bytes = Buffer.concat([blocks('xx..xx'), Buffer.alloc(MiB)])
  const file = path.join(t.testdir(), 'disk.img')
  fs.writeFileSync(file, bytes)
  const source = new FileSource(file, fs.openSync(file, 'r'))
  const data = new CachedData(source.cache, 4096)
  const runs = withoutMoreFds(() => data.runs({ offset: 0, length: bytes.length, zero: false }))
  t.strictSame(
    runs?.map(({ length, zero }) => [length, zero]),
    [
      [2 * 4096, false],
      [2 * 4096, true],
      [2 * 4096, false],
      [MiB, true]
    ]
  )
  await source.close()
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
