import t from 'tap'
import { Load, RandomNumbers, type LoadShape } from '../../../../client/bench/load.ts'

const shape: LoadShape = {
  kind: 'read',
  mix: 70,
  blockSize: 4096,
  offset: 8192,
  length: 5 * 4096 + 100,
  seed: 1
}

const take = <T>(count: number, next: () => T): T[] => Array.from({ length: count }, next)

void t.test('load - in sequence: block after block, and from the end to the start', async (t) => {
  const load = new Load(shape)
  t.same(
    take(7, () => load.nextOffset()),
    [8192, 12288, 16384, 20480, 24576, 8192, 12288]
  )
  t.ok(take(50, () => load.nextOperation()).every((operation) => operation === 'read'))
})

void t.test('load - at random: every block of the range, and nothing else', async (t) => {
  const load = new Load({ ...shape, kind: 'randwrite' })
  const seen = new Set(take(500, () => load.nextOffset()))
  t.same(
    [...seen].sort((a, b) => a - b),
    [8192, 12288, 16384, 20480, 24576]
  )
  t.ok(take(50, () => load.nextOperation()).every((operation) => operation === 'write'))
})

void t.test('load - beyond 2^32 blocks offsets are still whole blocks of the range', async (t) => {
  const length = 2 ** 53 - 1
  const load = new Load({ kind: 'randread', mix: 0, blockSize: 1, offset: 0, length, seed: 9 })
  const offsets = take(2000, () => load.nextOffset())
  t.ok(offsets.every((offset) => Number.isSafeInteger(offset) && offset >= 0 && offset < length))
  t.ok(Math.max(...offsets) > length * 0.99)
  t.ok(Math.min(...offsets) < length * 0.01)
  t.ok(
    offsets.some((offset) => offset % 2 === 1),
    'also odd ones'
  )
})

void t.test('load - the mix is a percentage of reads', async (t) => {
  for (const [mix, least, most] of [
    [0, 0, 0],
    [70, 6700, 7300],
    [100, 10_000, 10_000]
  ]) {
    const load = new Load({ ...shape, kind: 'randrw', mix: mix! })
    const reads = take(10_000, () => load.nextOperation()).filter((operation) => operation === 'read').length
    t.ok(reads >= least! && reads <= most!, `${mix}%: ${reads} of 10000`)
  }
})

void t.test('load - the same seed gives the same requests, another one others', async (t) => {
  const requests = (seed: number): unknown[] => {
    const load = new Load({ ...shape, kind: 'randrw', length: 2 ** 30, seed })
    return take(100, () => [load.nextOperation(), load.nextOffset()])
  }
  t.same(requests(7), requests(7))
  t.not(JSON.stringify(requests(7)), JSON.stringify(requests(8)))
})

void t.test('load - what is written does not repeat, whatever its length', async (t) => {
  for (const length of [1, 3, 512, 4099]) {
    const buffer = Buffer.alloc(length)
    new Load(shape).fill(buffer)
    if (length > 500) t.ok(new Set(buffer).size > 200, `${length} bytes`)
    else t.not(buffer.toString('hex'), '00'.repeat(length))
  }
})

void t.test('random numbers - every bit of a word is set about half of the time', async (t) => {
  const random = new RandomNumbers(0)
  const ones = Array.from({ length: 32 }, () => 0)
  for (let i = 0; i < 20_000; i++) {
    const word = random.word()
    for (let bit = 0; bit < 32; bit++) ones[bit]! += (word >>> bit) & 1
  }
  t.ok(
    ones.every((count) => count > 9500 && count < 10_500),
    ones.join()
  )
})
