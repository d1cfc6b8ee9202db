import t from 'tap'
import { setLogLevel } from '../../shared/log/log.ts'
import { RawClient } from '../helpers/raw-client.ts'
import { NBD_CMD_READ } from '../helpers/raw-constants.ts'
import { request } from '../helpers/raw-wire.ts'
import { serveTrial, type TrialServer } from '../helpers/trial-server.ts'
import { waitFor } from '../helpers/wait-for.ts'

setLogLevel('silent')

const REQUESTS = 1000
const LENGTH = 16

const reads = (count: number): Buffer =>
  Buffer.concat(
    Array.from({ length: count }, (_, i) =>
      request({ type: NBD_CMD_READ, cookie: BigInt(i), length: LENGTH })
    )
  )

async function takeReplies(client: RawClient, count: number): Promise<void> {
  for (let i = 0; i < count; i++) await client.simpleReply(() => LENGTH)
}

const countersOf = async ({ server }: TrialServer, index: number) =>
  (await server.counters()).connections[index]!

for (const most of [1, 10, 256]) {
  void t.test(`aio-max-batch=${most} - no batch is longer`, async (t) => {
    const properties = { 'aio-max-batch': most }
    const served = await serveTrial(t, { threads: 1, image: 'memory:1M', properties })
    const client = await RawClient.transmit(t, served)
    client.send(reads(REQUESTS))
    await takeReplies(client, REQUESTS)
    const { requests, batches } = await countersOf(served, 0)
    t.equal(requests, REQUESTS)
    t.ok(batches >= REQUESTS / most, `${batches} batches`)
  })
}

void t.test('aio-max-batch - can be set while the thread runs, and 0 leaves it to the server', async (t) => {
  const served = await serveTrial(t, { threads: 1, image: 'memory:1M' })
  const client = await RawClient.transmit(t, served)
  const batchesOf = async (count: number): Promise<number> => {
    const { batches } = await countersOf(served, 0)
    client.send(reads(count))
    await takeReplies(client, count)
    return (await countersOf(served, 0)).batches - batches
  }
  const many = await batchesOf(REQUESTS)
  t.ok(many < REQUESTS / 2, `${many} batches`)
  await served.threads[0]!.set({ 'aio-max-batch': 1 })
  t.equal(await batchesOf(REQUESTS), REQUESTS)
})

/** Requests that one client has sent, all of them there before the first is taken. */
const QUEUED = 600

const fairness: Record<string, { busyMs: number; most: number }> = {
  'aio-max-batch ends the batches': { busyMs: 0.4, most: 4 },
  'time ends the batches': { busyMs: 1, most: 0 }
}

for (const [why, { busyMs, most }] of Object.entries(fairness)) {
  void t.test(`fairness - another connection of the thread gets its turn when ${why}`, async (t) => {
    const properties = { 'aio-max-batch': most }
    const served = await serveTrial(t, { threads: 1, image: 'memory:1M', busyMs, properties })
    const greedy = await RawClient.transmit(t, served)
    const modest = await RawClient.transmit(t, served)
    // What counts is how far the greedy one has come when the other is answered, not how long it took.
    greedy.send(reads(QUEUED))
    await waitFor('the greedy client to be served', async () => (await countersOf(served, 0)).requests > 0)
    let turns = 0
    while ((await countersOf(served, 0)).requests < QUEUED) {
      await modest.call({ type: NBD_CMD_READ, length: LENGTH })
      turns++
    }
    // Without its turn, the modest one is answered once, at the end.
    t.ok(turns >= 3, `${turns} turns while ${QUEUED} requests were served`)
    await takeReplies(greedy, QUEUED)
  })
}
