import t from 'tap'
import { CachedStretch } from '../../../../server/transmission/cached-stretch.ts'
import { MiB } from '../../../helpers/raw-wire.ts'

const KiB = 1024
const FD = 7

interface Asked {
  stretch: CachedStretch
  /** What the page cache was asked about. */
  asked: [fd: number, offset: number, length: number][]
}

/** @param end of what is cached */
function asking(end: number): Asked {
  const asked: Asked['asked'] = []
  const stretch = new CachedStretch((fd, offset, length) => {
    asked.push([fd, offset, length])
    return offset + length <= end
  })
  return { stretch, asked }
}

void t.test('has - asks about reads that go on from each other together', async (t) => {
  let asked: Asked['asked']
  let began: number
  do {
    // Until no answer got too old meanwhile.
    began = performance.now()
    const asking_ = asking(64 * MiB)
    for (let i = 0; i < 16; i++) if (!asking_.stretch.has(FD, i * 64 * KiB, 64 * KiB)) t.fail(`read ${i}`)
    asked = asking_.asked
  } while (performance.now() - began > 2)
  t.strictSame(asked, [
    [FD, 0, 64 * KiB],
    [FD, 64 * KiB, MiB]
  ])
})

void t.test('has - asks about each of those that do not, or that are of different files', async (t) => {
  const { stretch, asked } = asking(64 * MiB)
  for (const at of [3, 0, 2, 1]) t.equal(stretch.has(FD, at * MiB, 64 * KiB), true)
  t.equal(stretch.has(FD + 1, MiB + 64 * KiB, 64 * KiB), true)
  t.equal(asked.length, 5)
  t.ok(asked.every(([, , length]) => length === 64 * KiB))
})

void t.test('has - an answer is soon too old', async (t) => {
  let end = 64 * MiB
  const stretch = new CachedStretch((_fd, offset, length) => offset + length <= end)
  t.equal(stretch.has(FD, 0, 64 * KiB), true)
  t.equal(stretch.has(FD, 64 * KiB, 64 * KiB), true)
  end = 0
  const dropped = performance.now()
  while (stretch.has(FD, 128 * KiB, 64 * KiB)) {
    if (performance.now() - dropped > 2) break
  }
  t.equal(stretch.has(FD, 128 * KiB, 64 * KiB), false)
})

void t.test('has - says what is so at the end of what is cached', async (t) => {
  const { stretch, asked } = asking(MiB)
  for (let at = 0; at < 2 * MiB; at += 64 * KiB) t.equal(stretch.has(FD, at, 64 * KiB), at < MiB, `at ${at}`)
  t.ok(asked.length < 32 * 2 - 8, 'most of them cost one question')
})

void t.test('has - a part that reaches beyond what was asked about is asked about', async (t) => {
  const { stretch } = asking(64 * KiB + MiB)
  t.equal(stretch.has(FD, 0, 64 * KiB), true)
  t.equal(stretch.has(FD, 64 * KiB, 64 * KiB), true)
  t.equal(stretch.has(FD, MiB, 64 * KiB), true)
  t.equal(stretch.has(FD, MiB, 65 * KiB), false)
})
