import * as crypto from 'node:crypto'
import t from 'tap'
import { alignedStretches, PieceQueue, type Piece } from '../../../../client/copy/pieces.ts'
import { KiB, MiB } from '../../../helpers/files.ts'
import { collect, DATA, extentList, generate, HOLE } from './helpers.ts'

const stretches = (size: number, align: number, ...pieces: number[]): Promise<Piece[]> =>
  collect(alignedStretches(generate(extentList(...pieces)), size, align))

const data = (offset: number, length: number): Piece => ({ offset, length, zero: false })
const zero = (offset: number, length: number): Piece => ({ offset, length, zero: true })

void t.test('stretches - data and holes as they are told, when they are aligned', async (t) => {
  t.same(await stretches(MiB, 4096, 512 * KiB, DATA, 256 * KiB, HOLE, 256 * KiB, DATA), [
    data(0, 512 * KiB),
    zero(512 * KiB, 256 * KiB),
    data(768 * KiB, 256 * KiB)
  ])
})

void t.test('stretches - a block that is partly data is data', async (t) => {
  t.same(await stretches(MiB, 4096, 5000, DATA, 200_000, HOLE, MiB - 205_000, DATA), [
    data(0, 8192),
    zero(8192, 204_800 - 8192),
    data(204_800, MiB - 204_800)
  ])
})

void t.test('stretches - a hole without the zero flag is data: it may read as anything', async (t) => {
  t.same(await stretches(MiB, 4096, MiB, 1), [data(0, MiB)])
})

void t.test('stretches - short extents are joined, and short holes are data', async (t) => {
  const many = Array.from({ length: 128 }, (_, i) => [4 * KiB, i % 2 === 0 ? DATA : HOLE]).flat()
  t.same(await stretches(512 * KiB, 4096, ...many), [data(0, 512 * KiB)])
})

void t.test('stretches - the end need not be aligned', async (t) => {
  t.same(await stretches(300_001, 4096, 100, DATA, 299_901, HOLE), [data(0, 4096), zero(4096, 295_905)])
  t.same(await stretches(700, 4096, 700, HOLE), [zero(0, 700)], 'nor need there be a whole block')
  t.same(await stretches(0, 4096), [])
})

void t.test('stretches - whatever the extents, all is there once, and no data are in a hole', async (t) => {
  for (let round = 0; round < 50; round++) {
    const list: number[] = []
    let size = 0
    for (let i = crypto.randomInt(40); i >= 0; i--) {
      const length = 1 + crypto.randomInt(crypto.randomInt(2) === 0 ? 5000 : 300_000)
      size += length
      list.push(length, crypto.randomInt(2) === 0 ? DATA : HOLE)
    }
    const extents = extentList(...list)
    let at = 0
    for (const { offset, length, zero } of await stretches(size, 4096, ...list)) {
      if (offset !== at || length < 1) t.fail(`a gap at ${at}`)
      at += length
      const overlaps = extents.filter((each) => each.offset < at && each.offset + each.length > offset)
      if (zero && overlaps.some(({ flags }) => flags === DATA)) t.fail(`data in the hole at ${offset}`)
      if (offset % 4096 !== 0) t.fail(`${offset} is not aligned`)
    }
    t.equal(at, size)
  }
})

void t.test('pieces - each is given to one, and they end at multiples of their size', async (t) => {
  const queue = new PieceQueue(generate([data(0, 1000), data(1000, 3000), zero(4000, 9000)]), 1024, 4096)
  const taken: Piece[] = []
  const taker = async (): Promise<void> => {
    for (let piece = await queue.take(); piece; piece = await queue.take()) taken.push(piece)
  }
  await Promise.all([taker(), taker(), taker()])
  t.same(
    taken.sort((a, b) => a.offset - b.offset),
    [
      data(0, 1000),
      data(1000, 24),
      data(1024, 1024),
      data(2048, 1024),
      data(3072, 928),
      zero(4000, 96),
      zero(4096, 4096),
      zero(8192, 4096),
      zero(12288, 712)
    ]
  )
  t.equal(await queue.take(), undefined)
})

void t.test('pieces - a failure is told to all who ask', async (t) => {
  async function* failing(): AsyncGenerator<Piece, void, undefined> {
    yield data(0, 10)
    throw new Error('status')
  }
  const queue = new PieceQueue(failing(), 1024, 1024)
  t.same(await queue.take(), data(0, 10))
  await t.rejects(queue.take(), /status/)
  await t.rejects(queue.take(), /status/)
})
