import t from 'tap'
import { connect, type NBDDisk } from '../../client/index.ts'
import { setLogLevel } from '../../shared/log/log.ts'
import { emptyImage } from '../helpers/files.ts'
import type { TrialEvent } from '../helpers/trial-driver.ts'
import { serveTrial, untilSpread } from '../helpers/trial-server.ts'
import { waitFor } from '../helpers/wait-for.ts'

setLogLevel('silent')

const KiB = 1024
const MiB = 1024 * KiB
const BLOCK = 4 * KiB
/** More blocks than are written. */
const SIZE = 1024 * MiB
const CONNECTIONS = 3
const DEPTH = 8

/** Where in the journal each write of `offset` was done; each is written once. */
const writesOf = (journal: TrialEvent[]): Map<number, number> =>
  new Map(journal.flatMap(({ what, value }, at) => (what === 'written' ? [[value * 512, at]] : [])))

/** Writes each block once, from all connections, with DEPTH in flight on each, until `enough`. */
async function writeBlocks(
  disks: NBDDisk[],
  fua: boolean,
  enough: () => boolean,
  onAnswer: (offset: number) => void
): Promise<void> {
  let next = 0
  const work = async (disk: NBDDisk): Promise<void> => {
    while (!enough() && next < SIZE / BLOCK) {
      const offset = BLOCK * next++
      await disk.write(offset, Buffer.alloc(BLOCK, next), { fua })
      onAnswer(offset)
    }
  }
  await Promise.all(disks.flatMap((disk) => Array.from({ length: DEPTH }, () => work(disk))))
}

void t.test('FLUSH - begins behind every write that was answered, whichever thread did it', async (t) => {
  const served = await serveTrial(t, { threads: 3, image: emptyImage(t, SIZE), busyMs: 2 })
  const disks = await Promise.all(Array.from({ length: CONNECTIONS }, () => connect(served.uri)))
  const flusher = await connect(served.uri)
  const answered: number[] = []
  /** What was answered when the flush of this number was asked for. */
  const before: number[] = []
  let enough = false
  const writing = writeBlocks(
    disks,
    false,
    () => enough,
    (offset) => answered.push(offset)
  )
  // One connection of its own, and one of those that write.
  const flush = async (disk: NBDDisk): Promise<void> => {
    before.push(answered.length)
    await disk.flush()
  }
  await flush(flusher)
  let spread = false
  const spreading = waitFor('the connections that write to spread', async () => {
    const { connections } = await served.server.counters()
    spread = connections.filter(({ threads, handOvers }) => threads === 3 && handOvers > 5).length >= 2
    return spread
  })
  while (!spread || before.length < 40) {
    await flush(flusher)
    await flush(disks[0]!)
  }
  await spreading
  enough = true
  await writing

  const { journal } = served.control
  const writes = writesOf(journal)
  const begun = journal.flatMap(({ what }, at) => (what === 'flush begins' ? [at] : []))
  t.equal(begun.length, before.length, 'each flush reached the node')
  const late = before.flatMap((count, number) =>
    answered.slice(0, count).filter((offset) => writes.get(offset)! > begun[number]!)
  )
  t.same(late, [], `${answered.length} writes, ${before.length} flushes`)
  const { iothreads } = await served.server.counters()
  t.ok(
    iothreads.every(({ requests }) => requests > 0),
    'all threads have taken part'
  )
  await Promise.all([...disks, flusher].map((disk) => disk.close()))
})

void t.test('FUA - a write is answered when a flush behind it has ended, in whatever thread', async (t) => {
  const served = await serveTrial(t, { threads: 3, image: emptyImage(t, SIZE), busyMs: 2 })
  const disks = await Promise.all(Array.from({ length: CONNECTIONS }, () => connect(served.uri)))
  /** How long the journal was when the write was answered. */
  const answered = new Map<number, number>()
  let spread = false
  const writing = writeBlocks(
    disks,
    true,
    () => spread && answered.size > 100,
    (offset) => answered.set(offset, served.control.events)
  )
  await untilSpread(served, 3)
  spread = true
  await writing

  const { journal } = served.control
  const writes = writesOf(journal)
  const ends = new Map(journal.flatMap(({ what, value }, at) => (what === 'flush ends' ? [[value, at]] : [])))
  const early = [...answered].filter(([offset, length]) => {
    const written = writes.get(offset)!
    // Some flush has begun behind the write, and ended before the answer.
    return !journal.some(
      ({ what, value }, at) =>
        what === 'flush begins' && at > written && (ends.get(value) ?? Infinity) < length
    )
  })
  t.same(early, [], `${answered.size} writes`)
  await Promise.all(disks.map((disk) => disk.close()))
})
