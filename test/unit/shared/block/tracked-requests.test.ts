import t from 'tap'
import { MAX_TRACKED_REQUESTS, TrackedRequests } from '../../../../shared/block/tracked-requests.ts'
import { startThreads } from '../../../helpers/iothreads.ts'
import { BEGIN_TRACKED, type BeginTracked } from '../../../helpers/tracking.ts'
import { waitFor } from '../../../helpers/wait-for.ts'

/** A request that is or will be under way. */
class Request {
  slot: number | undefined
  readonly #tracked: TrackedRequests

  constructor(tracked: TrackedRequests, start: number, end: number, serialising: boolean) {
    this.#tracked = tracked
    const begun = tracked.begin(start, end, serialising)
    if (typeof begun === 'number') this.slot = begun
    else void begun.then((slot) => (this.slot = slot))
  }

  end(): void {
    this.#tracked.end(this.slot!)
    this.slot = undefined
  }

  goesOn(): Promise<unknown> {
    return waitFor('a request to go on', () => this.slot !== undefined)
  }
}

/** Time for those who wait to go on, if they do so without reason. */
const turns = async (): Promise<void> => {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve))
}

void t.test(
  'tracked - only a serialising request and one that overlaps it wait for each other',
  async (t) => {
    const tracked = new TrackedRequests()
    const plain = [0, 1, 2].map(() => new Request(tracked, 0, 100, false))
    const beside = new Request(tracked, 100, 200, true)
    t.ok([...plain, beside].every(({ slot }) => slot !== undefined))
    const alone = new Request(tracked, 99, 100, true)
    const behind = new Request(tracked, 50, 150, false)
    await turns()
    t.strictSame([alone.slot, behind.slot], [undefined, undefined])
    for (const one of plain.slice(1)) one.end()
    await turns()
    t.equal(alone.slot, undefined, 'not for all')
    plain[0]!.end()
    await alone.goesOn()
    t.equal(behind.slot, undefined)
    alone.end()
    await turns()
    t.equal(behind.slot, undefined, 'it overlaps two')
    beside.end()
    await behind.goesOn()
    behind.end()
    t.equal(tracked.count, 0)
  }
)

void t.test('tracked - a later request overtakes nobody, and many in a row get their turn', async (t) => {
  const tracked = new TrackedRequests()
  const order: number[] = []
  await Promise.all(
    Array.from({ length: 100 }, async (_, i) => {
      const slot = await tracked.begin(i % 7, 10 + (i % 3), i % 2 === 0)
      order.push(i)
      await turns()
      tracked.end(slot)
    })
  )
  const serialising = order.filter((i) => i % 2 === 0)
  t.strictSame(
    serialising,
    [...serialising].sort((a, b) => a - b)
  )
  t.equal(tracked.count, 0)
})

void t.test('tracked - more than there is room for wait for room', async (t) => {
  const tracked = new TrackedRequests()
  const requests = Array.from(
    { length: MAX_TRACKED_REQUESTS + 2 },
    (_, i) => new Request(tracked, i, i + 1, i % 2 === 0)
  )
  const [last, next] = [requests.pop()!, requests.pop()!]
  await turns()
  t.ok(requests.every(({ slot }) => slot !== undefined))
  t.strictSame([next.slot, last.slot], [undefined, undefined])
  requests.shift()!.end()
  await waitFor('one of two to go on', () => next.slot !== undefined || last.slot !== undefined)
  for (const request of requests) request.end()
  await Promise.all([next.goesOn(), last.goesOn()])
  next.end()
  last.end()
  t.equal(tracked.count, 0)
})

void t.test('tracked - of all threads; what one leaves behind that ends holds up nobody', async (t) => {
  const tracked = new TrackedRequests()
  const [thread] = await startThreads(t, 1)
  const begin = (start: number, end: number, serialising: boolean): Promise<number> => {
    const what: BeginTracked = { memory: tracked.memory, start, end, serialising }
    return thread!.run(BEGIN_TRACKED, what)
  }
  const theirs = await begin(0, 10, true)
  const ours = new Request(tracked, 5, 6, false)
  await turns()
  t.equal(ours.slot, undefined)
  tracked.end(theirs)
  await ours.goesOn()
  ours.end()

  for (let i = 0; i < MAX_TRACKED_REQUESTS; i++) await begin(20 + i, 21 + i, i % 2 === 0)
  const waits = new Request(tracked, 25, 26, false)
  await turns()
  t.equal(waits.slot, undefined)
  await thread!.stop()
  await waits.goesOn()
  t.equal(tracked.count, 1)
  const again = Array.from({ length: MAX_TRACKED_REQUESTS - 1 }, () => new Request(tracked, 0, 1, false))
  t.ok(again.every(({ slot }) => slot !== undefined))
})
