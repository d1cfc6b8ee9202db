import t from 'tap'
import { MIN_DIRECT, readTargets } from '../../../../client/transmission/read-target.ts'
import { pattern } from '../helpers/reply-bytes.ts'

void t.test('readTargets - several buffers are filled as one, wherever a request begins', async (t) => {
  const lengths = [3, 0, 1, 10, 7]
  const total = lengths.reduce((sum, length) => sum + length, 0)
  const data = pattern(total)
  const wrong: string[] = []
  for (let start = 0; start < total; start++) {
    for (let cut = start; cut <= total; cut++) {
      const buffers = lengths.map((length) => Buffer.alloc(length, 0xee))
      const target = readTargets(buffers)(start)
      if (cut > start) target.write(0, data, start, cut)
      target.zero(cut - start, total - start)
      const expected = Buffer.concat([
        Buffer.alloc(start, 0xee),
        data.subarray(start, cut),
        Buffer.alloc(total - cut)
      ])
      if (!Buffer.concat(buffers).equals(expected)) wrong.push(`${start} to ${cut}`)
    }
  }
  t.strictSame(wrong, [])
})

void t.test('readTargets - long data are received in place, up to the end of a buffer', async (t) => {
  const [small, one, other] = [10, 2 * MIN_DIRECT, 3 * MIN_DIRECT].map((length) => Buffer.alloc(length))
  const target = readTargets([small!, one!, other!])(4)
  t.equal(target.direct(0, 100_000), undefined, 'too little')
  const direct = target.direct(6, 100_000)
  t.strictSame([direct?.at, direct?.length], [0, 2 * MIN_DIRECT])
  t.equal(direct?.memory?.buffer, one)
  const second = target.direct(6 + 2 * MIN_DIRECT + 100, 20_000)
  t.strictSame([second?.at, second?.length, second?.memory?.buffer === other], [100, 20_000, true])
  t.equal(target.direct(6 + 2 * MIN_DIRECT + 100, MIN_DIRECT - 1), undefined)
})

void t.test('readTargets - a buffer that was transferred is not pointed at any more', async (t) => {
  const buffer = Buffer.from(new ArrayBuffer(2 * MIN_DIRECT))
  const target = readTargets([buffer])(0)
  t.ok(target.direct(0, 2 * MIN_DIRECT))
  structuredClone(buffer.buffer, { transfer: [buffer.buffer] })
  t.equal(target.direct(0, 2 * MIN_DIRECT), undefined)
})
