import t from 'tap'
import { keptMemory } from '../../../../shared/io/memory-pool.ts'
import { SetAside } from '../../../../shared/io/set-aside.ts'

const KiB = 1024
const bytes = (text: string): Buffer => Buffer.from(text)

function take(aside: SetAside, most: number): string {
  const to = Buffer.alloc(most)
  return to.toString('latin1', 0, aside.take(to, 0, most))
}

void t.test('SetAside - bytes come in the order of the stream', async (t) => {
  const aside = new SetAside()
  aside.putBehind(bytes('xxefghxx'), 2, 6)
  aside.putBehind(bytes('ij'), 0, 2)
  aside.putBefore(bytes('xabcdx'), 1, 5)
  t.equal(aside.length, 10)
  t.equal(take(aside, 3), 'abc')
  aside.putBefore(bytes('bc'), 0, 2)
  aside.putBefore(bytes('0123'), 0, 4)
  t.equal(aside.skip(2), 2)
  t.equal(take(aside, 100), '23bcdefghij')
  t.equal(aside.length, 0)
  t.equal(take(aside, 100), '')
  t.equal(aside.skip(1), 0)
})

void t.test('take - touches nothing but what it says', async (t) => {
  const aside = new SetAside()
  aside.putBehind(bytes('abc'), 0, 3)
  const to = bytes('......')
  t.equal(aside.take(to, 2, 4), 2)
  t.equal(aside.take(to, 4, 6), 1)
  t.equal(to.toString(), '..abc.')
})

void t.test('SetAside - as an array does, whatever is put and taken', async (t) => {
  const aside = new SetAside()
  let expected = Buffer.alloc(0)
  let state = 1
  const random = (below: number): number => (state = (state * 48271) % 0x7fffffff) % below
  for (let i = 0; i < 3000; i++) {
    const piece = Buffer.alloc(random(i % 10 === 0 ? 20_000 : 300), i)
    const start = random(piece.length + 1)
    const put = piece.subarray(start)
    const most = random(i % 7 === 0 ? 30_000 : 300)
    const action = random(4)
    if (action === 0) {
      aside.putBefore(piece, start, piece.length)
      expected = Buffer.concat([put, expected])
    } else if (action === 1) {
      aside.putBehind(piece, start, piece.length)
      expected = Buffer.concat([expected, put])
    } else if (action === 2) {
      const to = Buffer.alloc(most)
      const n = aside.take(to, 0, most)
      if (!to.subarray(0, n).equals(expected.subarray(0, most))) t.fail(`taken at step ${i}`)
      expected = expected.subarray(n)
    } else {
      expected = expected.subarray(aside.skip(most))
    }
    if (aside.length !== expected.length)
      t.fail(`${aside.length} bytes, not ${expected.length}, at step ${i}`)
  }
  t.ok(aside.takeAll().equals(expected))
})

void t.test(
  'SetAside - its memory is of the pool, and goes back when nothing is set aside any more',
  async (t) => {
    const large = Buffer.alloc(100 * KiB)
    const to = Buffer.alloc(large.length)
    const empty: [string, (aside: SetAside) => unknown][] = [
      ['take', (aside) => aside.take(to, 0, to.length)],
      ['skip', (aside) => aside.skip(large.length)],
      ['takeAll', (aside) => aside.takeAll()],
      ['clear', (aside) => aside.clear()]
    ]
    for (const [name, end] of empty) {
      const aside = new SetAside()
      aside.putBehind(large, 0, large.length)
      const without = keptMemory()
      end(aside)
      t.equal(keptMemory() - without, 128 * KiB, name)
      t.equal(aside.length, 0)
      aside.clear()
      t.equal(keptMemory() - without, 128 * KiB, 'once')
    }
  }
)

void t.test('putBefore - what is given back finds its place where it was taken from', async (t) => {
  const aside = new SetAside()
  const large = Buffer.alloc(100 * KiB, 'a')
  aside.putBehind(large, 0, large.length)
  const kept = keptMemory()
  const to = Buffer.alloc(60 * KiB)
  for (let i = 0; i < 3; i++) {
    aside.take(to, 0, to.length)
    aside.putBefore(to, 10 * KiB, to.length)
    t.equal(keptMemory(), kept, 'nothing was taken from the pool, or given back')
  }
  t.equal(aside.length, 70 * KiB)
  aside.clear()
})
