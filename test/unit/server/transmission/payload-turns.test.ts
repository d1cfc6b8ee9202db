import t from 'tap'
import { MAX_RECEIVING, PayloadTurns } from '../../../../server/transmission/payload-turns.ts'
import { Coroutine } from '../../../../shared/coroutine/coroutine.ts'
import { within } from '../../../helpers/wait-for.ts'

const PART = MAX_RECEIVING / 4

void t.test(
  'turns - as many as there is memory for, and the next when one has ended, in order',
  async (t) => {
    const turns = new PayloadTurns()
    const first = Array.from({ length: 4 }, () => turns.begin(PART)!)
    t.ok(first.every(Boolean))
    t.equal(turns.begin(1), undefined)
    const order: number[] = []
    const waiting = [PART, PART / 2, PART / 2, PART].map((length, i) =>
      Coroutine.start(function* () {
        const turn = yield* turns.wait(length)
        order.push(i)
        return turn
      })
    )
    t.strictSame(order, [])
    turns.end(first[0]!)
    const second = await within('the first', waiting[0]!)
    t.strictSame(order, [0])
    t.equal(turns.begin(1), undefined, 'nobody overtakes')
    turns.end(second)
    turns.end(second)
    await within('both of half the length', Promise.all([waiting[1]!, waiting[2]!]))
    t.strictSame(order, [0, 1, 2])
    turns.end(first[1]!)
    await within('the last', waiting[3]!)
  }
)

void t.test('turns - one that is longer than all of that comes alone', async (t) => {
  const turns = new PayloadTurns()
  const small = turns.begin(1)!
  t.equal(turns.begin(2 * MAX_RECEIVING), undefined)
  turns.end(small)
  const large = turns.begin(2 * MAX_RECEIVING)!
  t.ok(large)
  t.equal(turns.begin(1), undefined)
  turns.end(large)
  t.ok(turns.begin(1))
})

void t.test('turns - those who wait go on when others have had their time', async (t) => {
  const turns = new PayloadTurns()
  const slow = Array.from({ length: 4 }, () => turns.begin(PART)!)
  const waiting = Array.from({ length: 4 }, () => Coroutine.start(() => turns.wait(PART)))
  const quick = await within('all of them', Promise.all(waiting))
  // They count, and the slow ones no longer.
  for (const turn of slow) turns.end(turn)
  t.equal(turns.begin(1), undefined)
  for (const turn of quick) turns.end(turn)
  t.ok(turns.begin(MAX_RECEIVING))
})

void t.test('turns - nobody waits for long, however many are slow', async (t) => {
  const turns = new PayloadTurns()
  t.ok(turns.begin(MAX_RECEIVING))
  // One after the other they would take ten times as long as anybody has to wait.
  const waiting = Array.from({ length: 100 }, () => Coroutine.start(() => turns.wait(MAX_RECEIVING)))
  const late = Coroutine.start(() => turns.wait(1))
  let gone = 0
  for (const wait of waiting) void wait.then(() => gone++)
  await within('all that were before, and the last', late, 5000)
  t.equal(gone, 100)
})
