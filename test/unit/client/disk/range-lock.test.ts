import t from 'tap'
import { RangeLock } from '../../../../client/disk/range-lock.ts'
import { Cancellation } from '../../../../client/transmission/cancellation.ts'
import { NBD_CMD_WRITE } from '../../../helpers/raw-constants.ts'

const command = { type: NBD_CMD_WRITE, flags: 0, offset: 0, length: 1 }
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

void t.test('RangeLock - holders of ranges that do not touch do not wait', async (t) => {
  const lock = new RangeLock()
  const releases = await Promise.all([
    lock.acquire(0, 8, command),
    lock.acquire(8, 16, command),
    lock.acquire(100, 101, command)
  ])
  for (const release of releases) release()
  t.ok(await lock.acquire(0, 200, command))
})

void t.test(
  'RangeLock - who waits is not overtaken by a later one that wants some of the same',
  async (t) => {
    const lock = new RangeLock()
    const order: string[] = []
    const acquire = (name: string, start: number, end: number): Promise<() => void> =>
      lock.acquire(start, end, command).then((release) => {
        order.push(name)
        return release
      })
    const a = await acquire('a', 0, 8)
    const wide = acquire('wide', 4, 20)
    const late = acquire('late', 16, 24)
    const beside = await acquire('beside', 30, 40)
    await turn()
    t.strictSame(order, ['a', 'beside'])
    a()
    const wideRelease = await wide
    await turn()
    t.strictSame(order, ['a', 'beside', 'wide'])
    wideRelease()
    ;(await late)()
    beside()
    t.strictSame(order, ['a', 'beside', 'wide', 'late'])
  }
)

void t.test('RangeLock - one that is given up lets those behind it go on', async (t) => {
  const lock = new RangeLock()
  const release = await lock.acquire(0, 8, command)
  const controller = new AbortController()
  const cancellation = Cancellation.start({ signal: controller.signal })
  const given = lock.acquire(4, 16, command, cancellation)
  const behind = lock.acquire(12, 20, command)
  controller.abort()
  await t.rejects(given, { name: 'AbortError' })
  ;(await behind)()
  release()
  t.ok(await lock.acquire(0, 100, command), 'nothing is left locked')
})

void t.test('RangeLock - random holders never share a byte', async (t) => {
  const lock = new RangeLock()
  const holders = new Array<number>(64).fill(0)
  let [most, state] = [0, 7]
  const random = (below: number): number => (state = (state * 48271) % 2147483647) % below
  await Promise.all(
    Array.from({ length: 40 }, async () => {
      for (let round = 0; round < 20; round++) {
        const start = random(60)
        const end = start + 1 + random(64 - start - 1)
        const release = await lock.acquire(start, end, command)
        for (let i = start; i < end; i++) most = Math.max(most, ++holders[i]!)
        if (random(2) === 0) await turn()
        for (let i = start; i < end; i++) holders[i]!--
        release()
      }
    })
  )
  t.equal(most, 1)
})
